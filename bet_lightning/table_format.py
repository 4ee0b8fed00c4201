"""How a table is written, and what that costs to the byte."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bet_lightning.dtypes import FLOAT_BYTES, LEVELS, Dtype

if TYPE_CHECKING:
    from torch import Tensor

WORD_BYTES = 4  # numbers of levels are written as digits of words
_GRIDS = (1, 2, 4, 8, 16, 32)
_SIZES_SHARE = 0.1  # of a budget, that sizes of rows may take


@dataclass(frozen=True)
class TableShape:
    """The full table of a backbone, over all of its embedding tables.

    Attributes:
        num_users: Rows of users.
        num_items: Rows of items.
        width: Largest size of a row, over all tables.
        num_tables: Tables of the backbone.
    """

    num_users: int
    num_items: int
    width: int
    num_tables: int = 1

    @property
    def num_rows(self) -> int:
        """Rows of a table."""
        return self.num_users + self.num_items

    @property
    def params(self) -> int:
        """Parameters of the full table."""
        return self.num_rows * self.width


def digits_a_word(base: int) -> int:
    """Return how many digits of a base a word of 32 bits holds: 20 of base 3, 11 of base 7, 8 of base 15."""
    digits = 1
    while base ** (digits + 1) <= 2 ** (8 * WORD_BYTES):
        digits += 1
    return digits


def digit_bytes(count: int, base: int) -> int:
    """Return the bytes of so many digits in whole words."""
    return WORD_BYTES * -(-count // digits_a_word(base))


def size_bytes(max_size: int, min_size: int = 1) -> int:
    """Return the bytes that a table of floats spends on the size of a row: 1 for up to 256 sizes, 2 beyond."""
    return 1 if max_size - min_size < 256 else 2


def upper_bits(num_rows: int, num_filled: int, low: int) -> int:
    """Return the bits of Elias and Fano's code above the low ones: a one a row, and a zero for each number passed."""
    return num_filled + (num_rows - 1 >> low) + 1


def low_bits(num_rows: int, num_filled: int) -> int | None:
    """Return how many low bits of a row's number Elias and Fano's code writes, None where a bit a row takes less.

    Args:
        num_rows: Rows of a table.
        num_filled: Those of them that have values.
    """
    lows = range(max(1, num_rows.bit_length()))
    bits = [upper_bits(num_rows, num_filled, low) + num_filled * low for low in lows]
    return None if num_rows <= min(bits) else bits.index(min(bits))


def filled_bytes(num_rows: int, num_filled: int) -> int:
    """Return the bytes that say which rows have values; none where all have.

    Args:
        num_rows: Rows of a table.
        num_filled: Those of them that have values.
    """
    if num_filled == num_rows:
        return 0
    low = low_bits(num_rows, num_filled)
    bits = num_rows if low is None else upper_bits(num_rows, num_filled, low) + num_filled * low
    return -(-bits // 8)


@dataclass(frozen=True)
class TableFormat:
    """What values are held as, and which sizes rows may have.

    A table of floats has its values and, unless all rows are of one size, a size a row. A table of levels has the
    levels' numbers, packed into words, a byte for the scale of every column, which rows have values, and of each of
    these a byte for its step and its size as the number of a multiple of a grid: fine sizes would take a good part of
    a small budget. One row may be of any size, so that what is left over can be spent.

    Attributes:
        dtype: What a value is held as.
        grid: What sizes are multiples of.
    """

    dtype: Dtype = "fp32"
    grid: int = 1

    @property
    def is_float(self) -> bool:
        """Whether values are floats, without steps."""
        return self.dtype in FLOAT_BYTES

    @property
    def precision(self) -> float:
        """How finely values are held: the logarithm of their bits, 1 for float32 and 0 for one bit."""
        bits = 8 * FLOAT_BYTES[self.dtype] if self.is_float else math.log2(LEVELS[self.dtype])
        return math.log2(bits) / 5

    @property
    def bits(self) -> float:
        """Bits that a value takes as written: 32 for float32, 8 for 255 levels, 1.6 for three."""
        if self.is_float:
            return 8.0 * FLOAT_BYTES[self.dtype]
        return 8.0 * WORD_BYTES / digits_a_word(LEVELS[self.dtype])

    def num_sizes(self, width: int) -> int:
        """Return how many sizes a row that has values may have in a table of levels."""
        return max(2, width // self.grid + (self.grid > 1))

    def num_bytes(self, shape: TableShape, sizes: Tensor) -> int:
        """Return the bytes of a table, as it is written.

        Args:
            shape: The full table.
            sizes: ``(num_rows,)`` integers, parameters of each row over all tables.
        """
        tables = shape.num_tables
        wide = sizes.long()
        smallest, largest = int(wide.min()), int(wide.max())
        values = sum(self.value_bytes(int(((wide + tables - 1 - t) // tables).sum())) for t in range(tables))
        written = replace(self, grid=coarsest_grid(wide, shape.width))
        return values + written.row_bytes(shape, int((wide > 0).sum()), uniform=smallest == largest, min_size=smallest)

    def row_bytes(self, shape: TableShape, num_filled: int, *, uniform: bool = False, min_size: int = 1) -> int:
        """Return the bytes that rows take beside their values.

        Args:
            shape: The full table.
            num_filled: Rows that have values.
            uniform: Whether all rows are of one size, which is then not written.
            min_size: Smallest size of a row.
        """
        if self.is_float:
            return 0 if uniform else size_bytes(shape.width, min_size) * shape.num_rows
        rows = 0 if uniform else self.coded_size_bytes(shape, num_filled)
        return shape.width + rows + num_filled * shape.num_tables

    def coded_size_bytes(self, shape: TableShape, num_filled: int) -> int:
        """Return the bytes that say in a table of levels which rows have values, and of what sizes they are."""
        return filled_bytes(shape.num_rows, num_filled) + digit_bytes(num_filled, self.num_sizes(shape.width))

    def cap(self, shape: TableShape, num_bytes: int, num_filled: int | None = None, min_size: int = 1) -> int:
        """Return the most parameters of a table that so many bytes hold, 0 if not even its rows.

        Args:
            shape: The full table.
            num_bytes: Bytes.
            num_filled: Rows that have values (default: all).
            min_size: Smallest size of a row.
        """
        filled = shape.num_rows if num_filled is None else num_filled
        per_table = shape.params // shape.num_tables
        full = shape.num_tables * self.value_bytes(per_table) + self.row_bytes(shape, shape.num_rows, uniform=True)
        if full <= num_bytes:
            return shape.params
        left = num_bytes - self.row_bytes(shape, filled, min_size=min_size)
        if self.is_float:
            cap = left // FLOAT_BYTES[self.dtype]
        else:
            # the last word of each table but one may be left with a single digit
            cap = digits_a_word(LEVELS[self.dtype]) * (left // WORD_BYTES - (shape.num_tables - 1))
        return max(0, min(cap, shape.params))

    def typical_cap(self, shape: TableShape, num_bytes: int, min_size: int) -> int:
        """Return about how many parameters so many bytes hold."""
        return max(1, self.cap(shape, num_bytes, self.typical_filled(shape, num_bytes, min_size), min_size))

    def typical_filled(self, shape: TableShape, num_bytes: int, min_size: int) -> int:
        """Return about how many rows have values: all, or so many that they have half of a width where some may not."""
        if min_size or self.is_float:
            return shape.num_rows
        row = shape.num_tables + self.value_bytes(shape.width // 2)
        return max(1, min((num_bytes - shape.width) // row, shape.num_rows))

    def is_feasible(self, shape: TableShape, num_bytes: int, min_size: int) -> bool:
        """Whether so many bytes are enough for the smallest table, which has a value at least."""
        filled, least = (shape.num_rows, self.grid * shape.num_rows) if min_size else (1, 1)
        return self.cap(shape, num_bytes, filled, min_size) >= least

    def most_bytes(self, shape: TableShape, params: int, min_size: int = 1) -> int:
        """Return the most bytes that a table of so many parameters takes, whatever its sizes are."""
        slack = 0 if self.is_float else WORD_BYTES * (shape.num_tables - 1)
        uniform = params == shape.params
        rows = self.row_bytes(shape, shape.num_rows, uniform=uniform, min_size=min_size)
        return self.value_bytes(params) + slack + rows

    def value_bytes(self, count: int) -> int:
        """Return the bytes of so many values of one table."""
        if self.is_float:
            return count * FLOAT_BYTES[self.dtype]
        return digit_bytes(count, LEVELS[self.dtype])


FLOAT32 = TableFormat()


def formats_within(shape: TableShape, num_bytes: int, min_size: int) -> tuple[TableFormat, ...]:
    """Return the formats of levels that a budget in bytes is worth trying in, the finest first.

    Coarser ones than the finest that holds the full table are left out: they have nothing to gain.

    Args:
        shape: The full table.
        num_bytes: The budget.
        min_size: Smallest size of a row.
    """
    found = []
    for dtype in LEVELS:
        each = TableFormat(dtype, size_grid(shape, num_bytes, min_size, dtype))
        if each.is_feasible(shape, num_bytes, min_size):
            found.append(each)
        if each.cap(shape, num_bytes, min_size=min_size) == shape.params:
            break
    return tuple(found)


def coarsest_grid(sizes: Tensor, width: int) -> int:
    """Return the coarsest grid that all sizes lie on, except at most one.

    Args:
        sizes: ``(num_rows,)`` integers, 0 for rows without values.
        width: Largest size of a row.
    """
    grids = (grid for grid in reversed(_GRIDS) if width % grid == 0)
    return next(grid for grid in grids if int((sizes % grid != 0).sum()) <= (grid > 1))


def size_grid(shape: TableShape, num_bytes: int, min_size: int, dtype: Dtype) -> int:
    """Return the finest grid on which sizes take no more than a tenth of a budget, or else the coarsest that can be.

    Args:
        shape: The full table.
        num_bytes: The budget.
        min_size: Smallest size of a row: if not 0, every row has to get a multiple of the grid.
        dtype: What values are held as; sizes of floats are always exact.
    """
    chosen = 1
    if dtype in FLOAT_BYTES:
        return chosen
    for grid in (grid for grid in _GRIDS if shape.width % grid == 0):
        form = TableFormat(dtype, grid)
        if min_size and form.cap(shape, num_bytes) < grid * shape.num_rows:
            break
        chosen = grid
        filled = form.typical_filled(shape, num_bytes, min_size)
        if form.coded_size_bytes(shape, filled) <= _SIZES_SHARE * num_bytes:
            break
    return chosen
