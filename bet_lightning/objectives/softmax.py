"""The sampled softmax loss: a user's item against negatives that the whole batch shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.objectives.base import ItemPowers, Objective

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch


@dataclass(frozen=True)
class SampledSoftmax(Objective):
    r"""Sampled softmax over cosines (Wu et al. 2024, arXiv 2201.02327).

    .. math::
        -\frac{1}{b} \sum_{(u,i)} \log \frac{e^{\cos(z_u, z_i) / \tau}}
        {e^{\cos(z_u, z_i) / \tau} + \sum_{j \in N} e^{\cos(z_u, z_j) / \tau}}

    N are the first ``num_negatives`` negatives of the batch's triplets: uniform over the items except those of the
    user they were drawn for. One of them may be an item of another user's; at a thousand out of tens of thousands of
    items this is rare, and it is not corrected.

    Cosines do not see norms, which then follow from initial values, popularity, the graph and sizes, and within
    :math:`\pm 1 / \tau` they cannot say how popular an item is. Items are therefore ranked by

    .. math::
        \cos(z_u, z_i) \, \|z_i\|^p \, f_i^q

    f being its training interactions, p ``norm_power`` and q ``popularity_power``.

    Args:
        num_negatives: Negatives a batch.
        temperature: :math:`\tau`.
        norm_power: Power of an item's norm in its scores: 1 ranks by dot products, 0 by cosines. The larger it is, the
            more rows of unequal sizes are ranked by their sizes.
        popularity_power: Power of an item's popularity.

    Raises:
        ValueError: If a value is out of range.
    """

    num_negatives: int = 1024
    temperature: float = 0.1
    norm_power: float = 0.25
    popularity_power: float = 0.05

    def __post_init__(self) -> None:
        for name in ("norm_power", "popularity_power"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"model.objective.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.num_negatives < 1 or self.temperature <= 0:
            raise ValueError(
                "model.objective needs num_negatives >= 1 and temperature > 0, got "
                f"num_negatives={self.num_negatives}, temperature={self.temperature}"
            )

    def part(self, batch: BPRBatch, rank: int, num_ranks: int) -> BPRBatch:
        """Return a rank's users and their items, with the negatives that the whole batch shares."""
        return super().part(batch, rank, num_ranks)._replace(neg_items=batch.neg_items[: self.num_negatives])

    @property
    def item_powers(self) -> ItemPowers:
        """How items are scaled for ranking."""
        return ItemPowers(self.norm_power, self.popularity_power)

    def check(self, network: Backbone) -> None:
        """Refuse a backbone that does not score by dot products: see :meth:`Objective.check`."""
        self._dot_products_of(network)

    @staticmethod
    def _dot_products_of(network: Backbone) -> DotProductBackbone:
        if not isinstance(network, DotProductBackbone):
            raise ValueError(
                f"model.objective SampledSoftmax needs a backbone that scores by dot products, "
                f"got {type(network).__name__}: take BPR"
            )
        return network

    def __call__(self, network: Backbone, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the loss and the regulariser.

        Args:
            network: The backbone.
            users: ``(b,)`` int64.
            pos_items: ``(b,)`` int64, an item of each user's.
            neg_items: ``(b,)`` int64.

        Returns:
            The mean loss, and :math:`\frac{1}{2b} \sum (\|e_u\|^2 + \|e_i\|^2)` over the batch's masked table rows.

        Raises:
            ValueError: If the backbone does not score by dot products.
        """
        backbone = self._dot_products_of(network)
        size = users.numel()
        items = torch.cat([pos_items, neg_items[: self.num_negatives]])
        final, norms = backbone.gather(torch.cat([users, backbone.item_rows(items)]))
        final = torch.nn.functional.normalize(final)
        user, pos, neg = final[:size], final[size : 2 * size], final[2 * size :]
        user = user / self.temperature
        pos_logits = torch.linalg.vecdot(user, pos)
        loss = (torch.logaddexp(pos_logits, torch.logsumexp(user @ neg.T, 1)) - pos_logits).mean()
        return loss, norms[: 2 * size].sum() / (2 * size)
