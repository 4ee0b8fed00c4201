"""Masked table whose values are rounded to few levels: what is trained where a budget counts bits."""

from __future__ import annotations

import torch
from torch import Tensor

from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.precision import column_scales, fit_steps, level_of, nearest_step, round_values, step_of
from bet_lightning.tables.base import Description
from bet_lightning.tables.masked import MaskedEmbedding


class QuantizedEmbedding(MaskedEmbedding):
    r"""Masked table that reads as rounded values, and is trained through the rounding.

    .. math::
        \hat e_{nj} = s_n c_j \, (\mathrm{clip}(\lfloor e_{nj} / s_n c_j + m \rceil, 0, L - 1) - m)

    with L levels, :math:`m = (L - 1) / 2`, a step s a row and a scale c a column. Gradients pass as if nothing were
    rounded (straight-through, Bengio et al. 2013, arXiv 1308.3432). Steps and scales stay until they are fitted again.

    Args:
        num_rows: Number of rows.
        max_size: Number of columns of the full table.
        dtype: What a value is held as, one of ``LEVELS``.

    Attributes:
        dtype: What a value is held as.
        steps: ``(num_rows,)`` uint8, the code of each row's step: see ``bet_lightning.precision.step_of``.
        columns: ``(max_size,)`` uint8, the code of each column's scale.

    Raises:
        ValueError: If ``num_rows`` or ``max_size`` is out of range.
    """

    steps: Tensor
    columns: Tensor

    def __init__(self, num_rows: int, max_size: int, dtype: Dtype) -> None:
        super().__init__(num_rows, max_size)
        self.dtype: Dtype = dtype
        self.register_buffer("steps", torch.zeros(num_rows, dtype=torch.uint8))
        self.register_buffer("columns", nearest_step(torch.ones(max_size)))

    @classmethod
    @torch.no_grad()
    def from_masked(cls, masked: MaskedEmbedding, dtype: Dtype) -> QuantizedEmbedding:
        """Return a copy of a masked table, with the steps of least error."""
        table = cls(masked.num_rows, masked.max_size, dtype).to(masked.weight.device)
        table.weight.copy_(masked.weight)
        table.set_sizes(masked.sizes)
        table.fit_steps()
        return table

    def end_epoch(self) -> None:
        """Fit the steps to the rows as they are now."""
        self.fit_steps()

    @torch.no_grad()
    def fit_steps(self) -> None:
        """Give every column a scale, and then every row the step of least squared error in units of them."""
        values, kept = super()._vectors(None, self.max_size), self._kept()
        self.columns.copy_(column_scales(values, kept))
        self.steps.copy_(fit_steps(values / step_of(self.columns), kept, LEVELS[self.dtype]))

    @torch.no_grad()
    def to_masked(self) -> MaskedEmbedding:
        """Return a masked table of the values that it reads as."""
        masked = MaskedEmbedding(self.num_rows, self.max_size).to(self.weight.device)
        masked.weight.copy_(self())
        masked.set_sizes(self.sizes)
        return masked

    @torch.no_grad()
    def numbers(self) -> Tensor:
        """Return the numbers of the values' levels, ``(num_rows, max_size)`` uint8; those not kept say nothing."""
        return level_of(self.weight, self.distances(), LEVELS[self.dtype]).to(torch.uint8)

    def distances(self, rows: Tensor | None = None, width: int | None = None) -> Tensor:
        """Return the distances of levels, steps times scales.

        Args:
            rows: ``(r,)`` int64 (default: all).
            width: Columns (default: all).

        Returns:
            ``(r, width)`` float32.
        """
        steps = self.steps if rows is None else self.steps[rows]
        return step_of(steps).unsqueeze(1) * step_of(self.columns[:width])

    def _vectors(self, rows: Tensor | None, width: int) -> Tensor:
        return self._decoded(super()._vectors(rows, width), rows)

    def _decoded(self, values: Tensor, rows: Tensor | None) -> Tensor:
        width = values.shape[1]
        sizes = self.sizes if rows is None else self.sizes[rows]
        with torch.no_grad():
            change = round_values(values, self.distances(rows, width), LEVELS[self.dtype]).sub_(values)
            columns = torch.arange(width, dtype=sizes.dtype, device=sizes.device)
            change.masked_fill_(columns >= sizes.unsqueeze(-1), 0.0)
        return values + change

    def _kept(self) -> Tensor:
        columns = torch.arange(self.max_size, dtype=self.sizes.dtype, device=self.sizes.device)
        return columns < self.sizes.unsqueeze(-1)

    def describe(self) -> Description:
        """Return what :meth:`from_description` takes."""
        return {"kind": type(self).__name__, "num_rows": self.num_rows, "max_size": self.max_size, "dtype": self.dtype}

    @classmethod
    def from_description(cls, description: Description) -> QuantizedEmbedding:
        """Build the table that :meth:`describe` described.

        Raises:
            ValueError: If it is held as something without levels.
        """
        dtype = next((known for known in LEVELS if known == description["dtype"]), None)
        if dtype is None:
            raise ValueError(f"no table is held as {description['dtype']}")
        return cls(int(description["num_rows"]), int(description["max_size"]), dtype)

    def extra_repr(self) -> str:
        """Show the shape, the number of parameters in use and what a value is held as."""
        return f"{super().extra_repr()}, dtype={self.dtype}"
