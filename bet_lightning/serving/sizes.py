"""Sizes of the rows of a table of levels: which rows have values, and of these the numbers of multiples of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.digits import check_digits, pack_digits, unpack_digits
from bet_lightning.serving.filled import pack_filled, unpack_filled

Sizes = npt.NDArray[np.int64]
SIZES, FILLED = "sizes", "filled"  # names of the tensors


def sizes_by_number(width: int, grid: int, odd: int) -> Sizes:
    """Return the sizes that a row with values may have, by number.

    Args:
        width: Largest size of a row.
        grid: What sizes are multiples of; divides the width.
        odd: The size of the one row that may be off the grid; 0 without such a row.

    Returns:
        As many as ``TableFormat.num_sizes``, int64.

    Raises:
        ValueError: If the grid or the odd size does not fit the width.
    """
    if type(grid) is not int or type(odd) is not int or grid < 1 or width % grid or not 0 <= odd <= width:
        raise ValueError(f"sizes on a grid of {grid!r} and of {odd!r} fit no width of {width}")
    on_grid = np.arange(grid, width + 1, grid, dtype=np.int64)
    return on_grid if grid == 1 < width else np.append(on_grid, odd)


def pack_sizes(sizes: Sizes, by_number: Sizes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that sizes are stored as.

    Args:
        sizes: ``(num_rows,)``, 0 for rows without values.
        by_number: What :func:`sizes_by_number` returned.
    """
    filled = np.flatnonzero(sizes)
    numbers = np.zeros(int(by_number.max()) + 1, np.int64)
    numbers[by_number] = np.arange(len(by_number))
    packed: dict[str, npt.NDArray[Any]] = {SIZES: pack_digits(numbers[sizes[filled]], len(by_number))}
    return packed if len(filled) == len(sizes) else packed | {FILLED: pack_filled(filled, len(sizes))}


def unpack_sizes(arrays: Mapping[str, npt.NDArray[Any]], num_rows: int, num_filled: int, by_number: Sizes) -> Sizes:
    """Return the sizes that :func:`pack_sizes` packed.

    Args:
        arrays: What it returned, among others.
        num_rows: Rows of the table.
        num_filled: Those of them that have values.
        by_number: What :func:`sizes_by_number` returned.

    Raises:
        ValueError: If they are no sizes of so many rows.
        KeyError: If an array is missing.
    """
    filled = unpack_filled(arrays[FILLED], num_rows, num_filled) if num_filled < num_rows else np.arange(num_rows)
    check_digits(arrays[SIZES], len(by_number), num_filled)
    sizes = np.zeros(num_rows, np.int64)
    sizes[filled] = by_number[unpack_digits(arrays[SIZES], len(by_number), 0, num_filled)]
    return sizes
