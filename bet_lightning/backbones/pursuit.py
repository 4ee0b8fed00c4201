"""Least squares towards a full table's final vectors: how to fit the kept parameters, and which to keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from bet_lightning.backbones.conjugate_gradients import conjugate_gradients
from bet_lightning.gains import top_prefixes

Propagate = Callable[[Tensor], Tensor]

_GROWN = 0.2  # share of a budget that sizes grow to: beyond it, gains are a worse ranking of what to keep
_ROUNDS = 4  # in which sizes grow: four times the work chose hardly better sizes (LastFM, MovieLens-1M, Gowalla)
_STEPS = 3  # of conjugate gradients after each round
_STRIDE = 16  # of the columns that an error is judged by: columns do not mix
_PROBES = 32  # random signs that measure the curvature


class TablePursuit:
    r"""The problem :math:`\min_E \sum_n w_n \|P_n (E \odot M) - z_n\|^2 / \|z_n\|^2` for masks M of prefixes.

    P is linear and symmetric. Z are the full table's final vectors and w their weights. Errors are relative to the norm
    of a row's vector, because rankings depend on its direction.

    Args:
        full: ``(num_rows, d)``, the full table :math:`E_0`.
        propagate: :math:`P`, which acts on each column separately and returns a new tensor.
        importance: ``(num_rows,)`` positive weights w.
        target: ``(num_rows, d)``, the final vectors :math:`Z` (default: :math:`P E_0`).

    Attributes:
        target: The final vectors.
    """

    def __init__(self, full: Tensor, propagate: Propagate, importance: Tensor, target: Tensor | None = None) -> None:
        self.importance = importance
        self.full = full
        self.propagate = propagate
        self.target = propagate(full) if target is None else target

    def propagated_by(self, propagate: Propagate) -> TablePursuit:
        """Return the problem of making the same final vectors by another P."""
        other = TablePursuit(self.full, propagate, self.importance, self.target)
        other.weights = self.weights
        return other

    def is_of(self, full: Tensor, importance: Tensor) -> bool:
        """Return whether this is the problem of an equal table and equal weights."""
        return all(
            ours.device == theirs.device and torch.equal(ours, theirs)
            for ours, theirs in ((self.full, full), (self.importance, importance))
        )

    def kept(self, sizes: Tensor) -> Tensor:
        """Return the mask of the parameters that sizes ``(num_rows,)`` keep, ``(num_rows, d)`` bool."""
        return torch.arange(self.full.shape[1], device=sizes.device) < sizes.unsqueeze(1)

    def fit(self, sizes: Tensor, steps: int) -> Tensor:
        """Fit the kept parameters by conjugate gradients, from the masked full table on.

        Args:
            sizes: ``(num_rows,)`` integers.
            steps: Number of steps, of two propagations each.

        Returns:
            The fitted table ``(num_rows, d)``, zero outside of the mask.
        """
        table = torch.zeros_like(self.full)
        used = int(sizes.max())
        table[:, :used] = self._fit(sizes, torch.arange(used, device=sizes.device), steps)
        return table

    def error(self, sizes: Tensor, steps: int) -> float:
        """Return what the objective is after :meth:`fit`, up to a factor, judged by a few of the columns."""
        columns = torch.arange(0, self.full.shape[1], _STRIDE, device=sizes.device)
        missing = self.target[:, columns] - self.propagate(self._fit(sizes, columns, steps))
        return float((self.weights * missing.square()).sum())

    def _fit(self, sizes: Tensor, columns: Tensor, steps: int) -> Tensor:
        """Return some columns ``(c,)`` of the table that is fitted to sizes, ``(num_rows, c)``."""
        kept = columns < sizes.unsqueeze(1)
        table = self.full[:, columns] * kept
        gradient = self._gradient(table, self.target[:, columns])
        return table + self._towards_fit(kept, gradient, steps)[0]

    def gradient(self, table: Tensor) -> Tensor:
        """Return the objective's negative gradient P W (Z - P E) at a table E ``(num_rows, d)``, in its shape."""
        return self._gradient(table, self.target)

    def _gradient(self, table: Tensor, target: Tensor) -> Tensor:
        """Return the negative gradient at some columns of a table, ``(num_rows, c)`` like their final vectors."""
        return self.propagate((target - self.propagate(table)).mul_(self.weights))

    def _towards_fit(self, kept: Tensor, gradient: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Run conjugate gradients, preconditioned by the curvature, on some columns of a table.

        Args:
            kept: ``(num_rows, c)`` bool.
            gradient: ``(num_rows, c)``, the negative gradient at the columns.
            steps: Number of steps, of two propagations each.

        Returns:
            What to add to the columns, and the gradient after that, ``(num_rows, c)`` each.
        """
        return conjugate_gradients(self._normal, gradient, kept / self.curvature, steps)

    def gains(self, cap: int, min_size: int) -> Tensor:
        r"""Return the gain of each parameter once the others are fitted, by a matching pursuit for a budget.

        Sizes start at the smallest and grow in rounds, each time where one more parameter lowers the objective most.
        With the residual :math:`R = Z - P E` and :math:`W = \mathrm{diag}(w_n \|z_n\|^{-2})`, a parameter lowers it by
        :math:`(P W R)_{nj}^2 / (P W P)_{nn}`. This is little for rows whose vectors other rows reproduce. In the end,
        the gain of a kept parameter is what it costs to drop it, :math:`E_{nj}^2 (P W P)_{nn}`. The gain of any other
        is by how much it would lower the objective.

        Args:
            cap: The sum of sizes that is wanted. Sizes grow from the smallest ones a fifth of the way to it.
            min_size: Smallest size of a row.

        Returns:
            ``(num_rows, d)`` float32, not negative.
        """
        least = min_size * self.full.shape[0]
        sizes, table, gradient = self.grow(least + int(_GROWN * (cap - least)), min_size)
        return torch.where(self.kept(sizes), table.square() * self.curvature, self._brought(gradient)).float()

    def grow(self, cap: int, min_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Grow sizes by pursuit.

        Args:
            cap: The most that sizes may sum to.
            min_size: Smallest size of a row.

        Returns:
            Sizes ``(num_rows,)`` int64, the table ``(num_rows, d)`` fitted to them, and the negative gradient there,
            ``(num_rows, d)``.
        """
        num_rows, width = self.full.shape
        sizes = torch.full((num_rows,), min_size, device=self.full.device)
        table = self.fit(sizes, _STEPS)
        gradient = self.gradient(table)
        columns = torch.arange(width, device=self.full.device)
        for rounds_left in range(_ROUNDS, 0, -1):
            index = sizes.unsqueeze(1) + columns  # of each row's columns that are not kept yet
            following = self._brought(gradient).gather(1, index.clamp(max=width - 1)) * (index < width)
            more = top_prefixes(following, (cap - int(sizes.sum())) // rounds_left)
            sizes = torch.minimum(sizes + torch.from_numpy(more).to(sizes.device), torch.tensor(width))
            used = int(sizes.max())  # columns that no row keeps stay as they are
            kept = self.kept(sizes)[:, :used]
            change, gradient[:, :used] = self._towards_fit(kept, gradient[:, :used], _STEPS)
            table[:, :used] += change
        return sizes, table, gradient

    def _brought(self, gradient: Tensor) -> Tensor:
        """Return by how much one more parameter lowers the objective, ``(num_rows, d)``."""
        return gradient.square() / self.curvature

    def _normal(self, table: Tensor) -> Tensor:
        """Return the objective's matrix P W P times a table."""
        return self.propagate(self.propagate(table).mul_(self.weights))

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each row's squared error, ``(num_rows, 1)``, relative to the mean weight."""
        norms = self.target.square().sum(1, keepdim=True)
        relative = self.importance.unsqueeze(1) / norms.clamp(min=1e-6 * norms.mean())
        return relative / relative.mean()

    @cached_property
    def curvature(self) -> Tensor:
        r"""Diagonal of P W P, ``(num_rows, 1)``: :math:`\mathrm{mean}_v (P W^{1/2} v)^2` over random signs v."""
        shape = (self.full.shape[0], _PROBES)
        signs = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        measured = self.propagate(signs.to(self.full) * self.weights.sqrt()).square_().mean(1, keepdim=True)
        return measured.clamp(min=1e-9 * measured.mean())  # rows that nothing depends on
