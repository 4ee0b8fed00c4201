"""AutoEmb: sizes from weights that are learned with the values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Problem
from bet_lightning.methods.preferred_sizes import PreferredSizes
from bet_lightning.methods.tasks import Epochs
from bet_lightning.tables.soft_sizes import SoftSizesTable

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch
    from bet_lightning.recommender import AuxiliaryLoss, Recommender


class AutoEmb(PreferredSizes):
    r"""Weights of candidate sizes, learned with the values (Zhao et al. 2021, ICDM, arXiv 2002.11252).

    Every row has a vector of each candidate size, brought to one width by a linear layer, batch normalisation and tanh,
    and mixed by weights from a controller a side, which sees the row's popularity and its last weights. Training is
    bilevel, to first order: in every step the controllers learn from a validation batch, the values from a training
    batch. In the end each row's size is its largest weight's; sizes are trained from scratch.

    Deviations: the paper's recommender learns from a stream of ratings, its popularity grows, and its validation batch
    is the stream's past; here popularity is that of all training data, in steps of a quarter of an octave, and the
    validation batch is drawn from the validation split, with the training batch's negatives. Rows as popular as each
    other share their last weights. Values and controllers learn from one loss, the recommender's, at the same step,
    rather than one after the other. The paper has no budget and saves no memory, as it keeps vectors of all sizes; here
    the largest weights' sizes are brought to it: each row takes the largest :math:`\log w_{nk} - \lambda d_k` at the
    price :math:`\lambda` that spends the budget, so that the rows which lose the least likelihood a parameter give way;
    among rows of equal margins the least popular. Candidates above the width of a table become that width. The
    controllers never see a row's loss, as in the variant that the authors of ESAPN ran. Where a backbone has several
    tables, each has controllers of its own, and the logarithms of their weights are averaged.

    Args:
        candidates: Sizes of a table's rows, in ascending order (ESAPN's: 2, 4, 8, 16, 64, 128).
        controller_rate: Learning rate of the controllers, relative to the values' (authors: 1e-4 against 1e-3).
        learn: How long weights are learned; the last epoch counts, whether or not it validates best.
        train: How long sizes may be trained.

    Raises:
        ValueError: If the candidates are no sizes in ascending order, or ``controller_rate`` is not positive.
    """

    table_class = SoftSizesTable

    def __init__(
        self,
        candidates: Sequence[int] = (2, 4, 8, 16, 64, 128),
        controller_rate: float = 0.1,
        learn: Epochs = Epochs(max_epochs=20),
        train: Epochs = Epochs(),
    ) -> None:
        super().__init__("autoemb", candidates, controller_rate, learn, train)

    def auxiliary_loss(self, problem: Problem) -> AuxiliaryLoss:
        """Return the controllers' loss on validation pairs: see :meth:`PreferredSizes.auxiliary_loss`."""
        return partial(controllers_loss, problem.validation_pairs())


def controllers_loss(pairs: tuple[Tensor, Tensor], recommender: Recommender, batch: BPRBatch) -> Tensor:
    """Return 0 with the gradient, for controllers alone, of the loss of a batch of validation pairs.

    Args:
        pairs: Users and items ``(n,)`` int64.
        recommender: What is trained, on soft tables.
        batch: The training batch, whose size is taken, and whose negatives are.
    """
    network = recommender.network
    drawn = torch.randint(len(pairs[0]), (len(batch.users),))
    users, items = (side[drawn].to(batch.users.device) for side in pairs)
    tables = soft_tables(network)
    with ExitStack() as deciding:
        for table in tables:
            deciding.enter_context(table.deciding())
        loss, _ = recommender.objective(network, users, items, batch.neg_items)
    parameters = [each for table in tables for controller in table.controllers() for each in controller.parameters()]
    gradients = torch.autograd.grad(loss, parameters)
    linear = torch.stack(
        [(parameter * gradient).sum() for parameter, gradient in zip(parameters, gradients, strict=True)]
    )
    return (linear - linear.detach()).sum()


def soft_tables(network: Backbone) -> list[SoftSizesTable]:
    """Return a backbone's tables while weights are learned."""
    return [table for table in network.tables if isinstance(table, SoftSizesTable)]
