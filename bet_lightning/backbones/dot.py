"""Backbones that score by the dot product of a user's and an item's final vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bet_lightning.backbones.abilities import Refit
from bet_lightning.backbones.base import Backbone
from bet_lightning.backbones.basis import principal_axes, rotate
from bet_lightning.backbones.dot_products import squared_norms, triplet_scores


class Factors(NamedTuple):
    """Final vectors of all users and items.

    Attributes:
        users: ``(num_users, width)`` float32.
        items: ``(num_items, width)`` float32.
    """

    users: Tensor
    items: Tensor


class DotProductBackbone(Backbone):
    r"""Backbone with one table and the score :math:`\hat{y}_{ui} = z_u^\top z_i`, z being final vectors.

    Unless a class says otherwise, final vectors are linear in the table, each column apart: rotating its columns
    rotates them in the same way, and no score changes.

    Attributes:
        columns_are_apart: Whether that is so, and processes may each hold some of the columns.
    """

    columns_are_apart: ClassVar[bool] = True

    @abstractmethod
    def propagate(self, ego: Tensor) -> Tensor:
        """Turn the masked table into final vectors.

        Args:
            ego: ``(num_rows, max_size)`` float32.

        Returns:
            ``(num_rows, width)`` float32.
        """

    def ego(self) -> Tensor:
        """Return the masked table that is propagated, ``(num_rows, max_size)``, or narrower where that is the same."""
        table: Tensor = self.table()()
        return table

    @torch.no_grad()
    def to_principal_basis(self) -> None:
        r"""Rotate the table so that its columns are the principal axes of the final vectors, most energy first.

        The axes are the eigenvectors of :math:`\sum_n f_n z_n z_n^\top / \|z_n\|^2`, f being the rows' frequencies.
        """
        self.check_full()
        final = self.propagate(self.ego())
        self.masked_table().weight.copy_(rotate(self.masked_table().weight, principal_axes(final, self.frequency)))

    @torch.no_grad()
    def energy(self) -> Tensor:
        """Return the squares of the final vectors, relative to their sum: see :meth:`KnowsEnergy.energy`."""
        return torch.nn.functional.normalize(self.propagate(self.ego())).square()

    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what each parameter is worth, its energy: see :meth:`KnowsEnergy.gains`."""
        return self.energy()

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return final vectors ``(r, width)`` and squared norms ``(r,)`` of the masked table rows ``rows``.

        Args:
            rows: ``(r,)`` int64, in any order, repeats allowed.
        """
        return self.table().exchange(rows, self._gather)

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same in the columns that are held here."""
        ego = self.ego()
        return self.propagate(ego).index_select(0, rows), squared_norms(ego.index_select(0, rows))

    def forward(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score a batch of triplets: see :meth:`Backbone.forward`."""
        rows = torch.cat([users, self.item_rows(pos_items), self.item_rows(neg_items)])
        final, norms = self.gather(rows)
        return *triplet_scores(final), norms.sum() / (2 * users.numel())

    @torch.no_grad()
    def encode(self) -> Factors:
        """Return the final vectors of all users and items."""
        final = self.table().whole(self.propagate(self.ego()))
        return Factors(final[: self.num_users], final[self.num_users :])

    @torch.no_grad()
    def score(self, encoded: Factors, users: Tensor) -> Tensor:
        """Score all items for a block of users: see :meth:`Backbone.score`."""
        return encoded.users[users] @ encoded.items.T
