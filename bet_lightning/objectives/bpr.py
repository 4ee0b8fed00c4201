"""Bayesian personalised ranking."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from bet_lightning.backbones import Backbone
from bet_lightning.objectives.base import Objective


@dataclass(frozen=True)
class BPR(Objective):
    r"""Bayesian personalised ranking (Rendle et al. 2009, arXiv 1205.2618).

    .. math:: \frac{1}{b} \sum_{(u,i,j)} -\log \sigma(\hat{y}_{ui} - \hat{y}_{uj})
    """

    def __call__(self, network: Backbone, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the regulariser: see :meth:`Objective.__call__`."""
        pos_scores, neg_scores, regularizer = network(users, pos_items, neg_items)
        return softplus(neg_scores - pos_scores).mean(), regularizer
