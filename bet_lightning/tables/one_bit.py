"""A table of signs: a bit a value, and a scale for many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bet_lightning.precision import nearest_step, step_of
from bet_lightning.table_format import WORD_BYTES, digit_bytes, digits_a_word
from bet_lightning.tables.base import Description, EmbeddingTable, Fill

_SCALE_BYTES = 4  # of a side's scale; a row's is a byte


class OneBitTable(EmbeddingTable):
    r"""Table that reads as signs times a scale, the last columns being zero, and is trained through the signs.

    .. math:: \hat e_{nj} = s \, \mathrm{sign}(e_{nj}) \text{ for } j < \mathrm{columns}, \qquad \mathrm{sign}(0) = 1

    Gradients pass the sign as if it were not there (straight-through, Bengio et al. 2013, arXiv 1308.3432). Scales are
    trained by their logarithms; those of rows are rounded to what a byte says: see ``bet_lightning.precision.step_of``.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns of a row as it is read.
        columns: Columns that have signs, in ``1..max_size``.
        by_row: Whether every row has a scale of its own, rather than users one and items one.

    Attributes:
        weight: ``(num_rows, columns)`` float32, of which only signs are deployed.
        log_scales: ``(num_rows,)`` or ``(2,)`` float32, logarithms of scales to the base 2.

    Raises:
        ValueError: If ``columns`` is out of range.
    """

    def __init__(self, num_users: int, num_items: int, max_size: int, columns: int, by_row: bool = False) -> None:
        super().__init__()
        if not 1 <= columns <= max_size:
            raise ValueError(f"columns must be in 1..{max_size}, got {columns}")
        self.num_users = num_users
        self.num_items = num_items
        self.num_rows = num_users + num_items
        self.max_size = max_size
        self.columns = columns
        self.by_row = bool(by_row)
        self.weight = nn.Parameter(torch.zeros(self.num_rows, columns))
        self.log_scales = nn.Parameter(torch.zeros(self.num_rows if by_row else 2))

    @property
    def num_used(self) -> int:
        """Number of values that have a sign."""
        return self.weight.numel()

    @property
    def num_bytes(self) -> int:
        """Bytes of signs and scales."""
        return one_bit_bytes(self.num_rows, self.columns, self.by_row)

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Take the signs of the first columns of ``(num_rows, max_size)`` values, with the scales of least error.

        The best scale of signs is the mean of absolute values.
        """
        self.weight.copy_(values[:, : self.columns])
        size = self.weight.abs().mean(1)
        if not self.by_row:
            size = torch.stack([side.mean() for side in size.split([self.num_users, self.num_items])])
        self.log_scales.copy_(size.clamp(min=torch.finfo(torch.float32).tiny).log2())

    def reset_parameters(self, fill: Fill) -> None:
        """Take the signs of a table that the backbone draws."""
        values = torch.zeros(self.num_rows, self.max_size, device=self.weight.device)
        fill(values)
        self.fit(values)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows, filled up with zeros: see :meth:`EmbeddingTable.forward`."""
        return functional.pad(self.narrow(rows), (0, self.max_size - self.columns))

    def narrow(self, rows: Tensor | None = None) -> Tensor:
        """Return the columns that have signs, ``(b, columns)``: see :meth:`EmbeddingTable.narrow`."""
        weight = self.weight if rows is None else self.weight.index_select(0, rows)
        values = torch.where(weight < 0, -1.0, 1.0) * self._scales(rows).unsqueeze(1)
        return values + (weight - weight.detach())

    def _scales(self, rows: Tensor | None) -> Tensor:
        """``(b,)`` scales of rows."""
        if self.by_row:
            logs = self.log_scales if rows is None else self.log_scales.index_select(0, rows)
            with torch.no_grad():
                change = step_of(nearest_step(logs.exp2())).log2() - logs
            return (logs + change).exp2()
        rows = torch.arange(self.num_rows, device=self.weight.device) if rows is None else rows
        return self.log_scales.exp2().index_select(0, (rows >= self.num_users).long())

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        names = ("num_users", "num_items", "max_size", "columns", "by_row")
        return {"kind": type(self).__name__, **{name: int(getattr(self, name)) for name in names}}

    def extra_repr(self) -> str:
        """Show the shape and the columns that have signs."""
        return f"{self.num_rows}, max_size={self.max_size}, columns={self.columns}, bytes={self.num_bytes}"


def one_bit_bytes(num_rows: int, columns: int, by_row: bool) -> int:
    """Return the bytes of signs in words, and of scales: a byte a row, or four a side."""
    return digit_bytes(num_rows * columns, 2) + _scale_bytes(num_rows, by_row)


def most_columns(num_bytes: int, num_rows: int, by_row: bool) -> int:
    """Return the most columns whose :func:`one_bit_bytes` are within so many bytes, 0 if none."""
    words = (num_bytes - _scale_bytes(num_rows, by_row)) // WORD_BYTES
    return max(0, digits_a_word(2) * words // num_rows)


def _scale_bytes(num_rows: int, by_row: bool) -> int:
    return num_rows if by_row else 2 * _SCALE_BYTES
