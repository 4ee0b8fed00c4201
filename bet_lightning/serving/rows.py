"""Rows of a packed table, stored without padding or offsets: rows of one size are adjacent.

A row's position in the order of the file is called its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bet_lightning.dtypes import Dtype

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]  # row numbers


def row_order(sizes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    """Return the rows in the order of the file: by size, largest first, then by row number.

    Args:
        sizes: ``(n,)`` parameters of each row.

    Returns:
        ``(n,)`` int32, the row at each place.
    """
    return np.argsort(-sizes.astype(np.int32), kind="stable").astype(np.int32)


def to_float(values: npt.NDArray[Any], dtype: Dtype) -> FloatArray:
    """Convert stored values to float32. Those of int8 must still be multiplied by their rows' scales."""
    if dtype == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)


class RowGroup(NamedTuple):
    """All rows of one size.

    Attributes:
        places: The rows' places.
        values: ``(rows, size)`` float32. A view of the file if the table is stored in float32.
    """

    places: slice
    values: FloatArray


class PackedRows:
    """Rows of different sizes; the rows of one size form a matrix.

    Rows are sorted by size, largest first. So the rows that have a given column are a prefix, and the cost of a product
    is proportional to the sum of the sizes.

    Args:
        values: ``(sum of sizes,)`` the rows one after another, in the order of the file.
        sizes: ``(n,)`` parameters of each row, by row number.
        order: ``(n,)`` int32, the row at each place, sorted by descending size.
        dtype: Dtype that the values are stored in. Values of bf16 are given as their bits, in uint16.
        scales: ``(n,)`` float16, what the int8 values of each row are to be multiplied by, in the order of the file.

    Attributes:
        order: ``(n,)`` int32, the row at each place.
        width: The largest size.
        smallest: The smallest size.
    """

    def __init__(
        self,
        values: npt.NDArray[Any],
        sizes: npt.NDArray[np.integer[Any]],
        order: npt.NDArray[np.int32],
        dtype: Dtype = "fp32",
        scales: npt.NDArray[np.float16] | None = None,
    ) -> None:
        self.order = order
        self._values = values
        self._dtype = dtype
        self._scales = scales
        distinct, counts = np.unique(sizes, return_counts=True)
        self._sizes, self._counts = distinct[::-1].astype(np.int64), counts[::-1].astype(np.int64)
        self._first_place = np.concatenate([[0], np.cumsum(self._counts)])
        self._first_value = np.concatenate([[0], np.cumsum(self._counts * self._sizes)])
        self.width, self.smallest = (int(self._sizes[0]), int(self._sizes[-1])) if len(sizes) else (0, 0)

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def place(self) -> npt.NDArray[np.int32]:
        """``(n,)`` int32, the place of each row: its position in the order of the file."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(self), dtype=np.int32)
        return place

    def are_larger(self) -> npt.NDArray[np.bool_]:
        """Return which rows are larger than the smallest size, ``(n,)`` bool."""
        larger = np.zeros(len(self), np.bool_)
        larger[self.order[: self._first_place[-2]]] = True
        return larger

    def groups(self, rows_at_once: int | None = None) -> Iterator[RowGroup]:
        """Yield the rows by size, largest first, without those of size 0.

        Args:
            rows_at_once: The most rows of a group; larger ones come in parts (default: no limit).
        """
        for index, size in enumerate(self._sizes):
            first, last = int(self._first_place[index]), int(self._first_place[index + 1])
            step = rows_at_once or max(1, last - first)
            for start in range(first, last, step) if size else ():
                places = slice(start, min(start + step, last))
                yield RowGroup(places, self._read(places, index))

    def gather(self, rows: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Return some rows, padded with zeros.

        Args:
            rows: ``(b,)`` row numbers.

        Returns:
            ``(b, width)`` float32.
        """
        places = self.place[rows].astype(np.int64)
        group = np.searchsorted(self._first_place, places, side="right") - 1
        sizes = self._sizes[group]
        starts = self._first_value[group] + (places - self._first_place[group]) * sizes
        columns = np.arange(self.width)
        kept = columns < sizes[:, None]
        out = np.zeros(kept.shape, np.float32)
        out[kept] = to_float(self._values[(starts[:, None] + columns)[kept]], self._dtype)
        return out if self._scales is None else out * self._scales[places, None].astype(np.float32)

    def columns(self, start: int, stop: int) -> FloatArray:
        """Return some columns of all rows, by row number, padded with zeros.

        Args:
            start: The first column.
            stop: One more than the last column.

        Returns:
            ``(stop - start, n)`` float32. Each column is contiguous in memory.
        """
        out = np.zeros((stop - start, len(self)), np.float32)
        for places, values in self.groups():
            block = values[:, start:stop]
            if not block.shape[1]:  # the groups that follow are smaller
                break
            out[: block.shape[1], self.order[places]] = block.T
        return out

    def _read(self, places: slice, index: int) -> FloatArray:
        size = self._sizes[index]
        first = self._first_value[index] + (places.start - self._first_place[index]) * size
        last = first + (places.stop - places.start) * size
        values = to_float(self._values[first:last], self._dtype).reshape(-1, size)
        return values if self._scales is None else values * self._scales[places, None].astype(np.float32)
