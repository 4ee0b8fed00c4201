"""Least squares towards a full table's final vectors: what kept parameters can make up for, and which to keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from bet_lightning.backbones.conjugate_gradients import conjugate_gradients
from bet_lightning.gains import top_prefixes

Propagate = Callable[[Tensor], Tensor]

_GROWN = 0.2  # of a budget is handed out by pursuit: as sizes go on growing, gains rank worse what is best kept
_ROUNDS = 4  # of growing: four times the work chose hardly better sizes (LastFM, MovieLens-1M, Gowalla)
_STEPS = 3  # of conjugate gradients between them
_PROBES = 32  # random signs that measure the curvature


class TablePursuit:
    r"""The problem :math:`\min_E \sum_n w_n \|P_n (E \odot M) - z_n\|^2 / \|z_n\|^2` for masks M of prefixes.

    P is symmetric and linear, :math:`Z = P E_0` are the final vectors, w their weights. Errors are relative to a row's
    vector, as rankings follow its direction.

    Args:
        full: ``(num_rows, d)`` the full table :math:`E_0`.
        propagate: :math:`P`, of every column alike, apart from the others; returns a new tensor.
        importance: ``(num_rows,)`` positive weights w.
    """

    def __init__(self, full: Tensor, propagate: Propagate, importance: Tensor) -> None:
        self.importance = importance
        self.full, self.propagate = full, propagate

    def is_of(self, full: Tensor, importance: Tensor) -> bool:
        """Whether this is the problem of such a table and such weights."""
        return all(
            ours.device == theirs.device and torch.equal(ours, theirs)
            for ours, theirs in ((self.full, full), (self.importance, importance))
        )

    def kept(self, sizes: Tensor) -> Tensor:
        """The mask of sizes: ``(num_rows, d)`` bool."""
        return torch.arange(self.full.shape[1], device=sizes.device) < sizes.unsqueeze(1)

    def fit(self, sizes: Tensor, steps: int) -> Tensor:
        """Conjugate gradients from the masked full table, preconditioned by the curvature.

        Args:
            sizes: ``(num_rows,)`` integers.
            steps: Steps, two propagations each.

        Returns:
            ``(num_rows, d)``, zero outside of the mask.
        """
        table, used = self.full * self.kept(sizes), int(sizes.max())
        gradient = self._normal(self.full[:, :used] - table[:, :used])
        table[:, :used] += self._towards_fit(sizes, gradient, steps)[0]
        return table

    def _towards_fit(self, sizes: Tensor, gradient: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """What steps add to a table's leading columns, and the gradient that it leaves: ``(num_rows, used)`` each.

        Args:
            sizes: ``(num_rows,)`` integers.
            gradient: ``(num_rows, used)`` the objective's matrix times what these columns miss of the full table's.
            steps: Steps, two propagations each.
        """
        kept = self.kept(sizes)[:, : gradient.shape[1]]
        return conjugate_gradients(self._normal, gradient, kept / self.curvature, steps)

    def gains(self, cap: int, min_size: int) -> Tensor:
        r"""What each parameter is worth once the others are fitted: matching pursuit for a budget.

        Sizes start at the smallest and grow in rounds, each time where one more parameter brings most: with the
        residual :math:`R = Z - P E` and :math:`W = \mathrm{diag}(w_n \|z_n\|^{-2})`, the objective falls by
        :math:`(P W R)_{nj}^2 / (P W P)_{nn}`. Rows that others rebuild bring little. In the end kept parameters count
        by what it costs to drop them, :math:`E_{nj}^2 (P W P)_{nn}`.

        Args:
            cap: The sum of sizes that is wanted; they grow a fifth of the way from the smallest sizes.
            min_size: Smallest size of a row.

        Returns:
            ``(num_rows, d)`` float32.
        """
        least = min_size * self.full.shape[0]
        sizes, table, gradient = self.grow(least + int(_GROWN * (cap - least)), min_size)
        return torch.where(self.kept(sizes), table.square() * self.curvature, self._brought(gradient)).float()

    def grow(self, cap: int, min_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sizes grown by pursuit.

        Returns:
            Sizes ``(num_rows,)`` int64 that sum to at most the cap, the table ``(num_rows, d)`` fitted to them, and the
            objective's matrix times what that misses of the full table.
        """
        num_rows, width = self.full.shape
        sizes = torch.full((num_rows,), min_size, device=self.full.device)
        table = self.fit(sizes, _STEPS)
        gradient = self._normal(self.full - table)
        columns = torch.arange(width, device=self.full.device)
        for rounds_left in range(_ROUNDS, 0, -1):
            places = sizes.unsqueeze(1) + columns
            following = self._brought(gradient).gather(1, places.clamp(max=width - 1)) * (places < width)
            more = top_prefixes(following, (cap - int(sizes.sum())) // rounds_left)
            sizes = torch.minimum(sizes + torch.from_numpy(more).to(sizes.device), torch.tensor(width))
            used = int(sizes.max())  # columns that no row keeps stay as they are
            change, gradient[:, :used] = self._towards_fit(sizes, gradient[:, :used], _STEPS)
            table[:, :used] += change
        return sizes, table, gradient

    def _brought(self, gradient: Tensor) -> Tensor:
        """What one more parameter brings, ``(num_rows, d)``."""
        return gradient.square() / self.curvature

    def _normal(self, table: Tensor) -> Tensor:
        """The objective's matrix P W P times a table."""
        return self.propagate(self.propagate(table).mul_(self.weights))

    @cached_property
    def weights(self) -> Tensor:
        """What each row's squared error counts, ``(num_rows, 1)``, relative to the mean."""
        norms = self.propagate(self.full).square_().sum(1, keepdim=True)
        relative = self.importance.unsqueeze(1) / norms.clamp(min=1e-6 * norms.mean())
        return relative / relative.mean()

    @cached_property
    def curvature(self) -> Tensor:
        r"""The matrix's diagonal, ``(num_rows, 1)``: :math:`\mathrm{mean}_v (P W^{1/2} v)^2` over random signs v."""
        shape = (self.full.shape[0], _PROBES)
        signs = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return self.propagate(signs.to(self.full) * self.weights.sqrt()).square_().mean(1, keepdim=True)
