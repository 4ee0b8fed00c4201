"""What a backbone is trained towards, and how the trained one ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from bet_lightning.backbones import Backbone, HasAuxiliaryLoss

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch


class ItemPowers(NamedTuple):
    r"""How an item's vector is scaled before it is ranked by: its norm to a power, its popularity to another.

    Attributes:
        norm_power: 1 ranks by dot products, 0 by cosines.
        popularity_power: Power of the item's training interactions.
    """

    norm_power: float
    popularity_power: float


class Objective(ABC):
    """A ranking loss over triplets: a mean over the triplets of a batch."""

    def part(self, batch: BPRBatch, rank: int, num_ranks: int) -> BPRBatch:
        """Return a rank's part of a batch whose losses, weighted by their numbers of users, add up to the batch's.

        Args:
            batch: At least as many triplets as there are ranks.
            rank: Number of the rank.
            num_ranks: Number of ranks.
        """
        return type(batch)(*(each.tensor_split(num_ranks)[rank] for each in batch))

    @property
    def item_powers(self) -> ItemPowers | None:
        """How items are scaled for ranking, which serving reads from a packed table; None leaves scores as they are."""
        return None

    def check(self, network: Backbone) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse a backbone that cannot be trained or ranked with this.

        Raises:
            ValueError: If it cannot.
        """

    @abstractmethod
    def __call__(self, network: Backbone, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the loss of a batch and the regulariser.

        Args:
            network: The backbone.
            users: ``(b,)`` int64.
            pos_items: ``(b,)`` int64, an item of each user.
            neg_items: ``(b,)`` int64.

        Returns:
            The mean loss, and half the squared norms of the batch's table rows over b.
        """


def total_loss(network: Backbone, objective: Objective, l2: float, batch: BPRBatch) -> Tensor:
    """Return the objective's loss, ``l2`` times the regulariser, and the backbone's auxiliary loss if it has one."""
    ranking, regularizer = objective(network, *batch)
    loss = ranking + l2 * regularizer
    if isinstance(network, HasAuxiliaryLoss):
        loss = loss + network.auxiliary_loss(*batch)
    return loss
