"""Rows of a packed table whose values are numbers of levels, stored column after column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.dtypes import LARGEST_OCTAVE, STEPS_PER_OCTAVE
from bet_lightning.serving.digits import Words, digits_at, unpack_digits
from bet_lightning.serving.rows import FloatArray, PackedRows


def step_of(codes: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the steps that codes stand for, float32: see ``bet_lightning.dtypes``."""
    octaves = np.float32(LARGEST_OCTAVE) - codes.astype(np.float32) / np.float32(STEPS_PER_OCTAVE)
    return np.asarray(np.exp2(octaves), np.float32)


class LevelRows(PackedRows):
    """Rows of different sizes, whose values are decoded when they are asked for.

    Rows are sorted by size, largest first, so that the values of one column are those of the first rows: a column is
    one run of digits, and no more than what is asked for is decoded.

    Args:
        words: Numbers of levels as digits, of this side's columns and others.
        levels: Levels.
        first: Where this side's numbers begin.
        sizes: ``(n,)`` parameters of each row, by row number.
        order: ``(n,)`` int32, the row at each place, sorted by descending size.
        steps: ``(filled,)`` uint8, codes of the steps of the first rows in that order.
        scales: ``(max_size,)`` uint8, codes of the scales of columns.
    """

    def __init__(
        self,
        words: Words,
        levels: int,
        first: int,
        sizes: npt.NDArray[np.integer[Any]],
        order: npt.NDArray[np.int32],
        steps: npt.NDArray[np.uint8],
        scales: npt.NDArray[np.uint8],
    ) -> None:
        super().__init__(np.empty(0, np.float32), sizes, order)
        self._words, self._levels = words, levels
        self._middle = np.float32((levels - 1) / 2)
        self._steps = np.zeros(len(sizes), np.float32)
        self._steps[: len(steps)] = step_of(steps)
        self._columns = step_of(scales)[: self.width]
        rows = np.bincount(sizes, minlength=self.width + 1)[::-1].cumsum()[::-1][1:]  # that have column j
        self._column_rows = rows.astype(np.int64)
        self._column_first = first + np.concatenate([[0], np.cumsum(self._column_rows)])

    def gather(self, rows: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Return some rows, padded with zeros: see :meth:`PackedRows.gather`."""
        places = self.place[rows].astype(np.int64)
        kept = places[:, None] < self._column_rows
        positions = self._column_first[:-1] + places[:, None]
        out = np.zeros(kept.shape, np.float32)
        out[kept] = digits_at(self._words, self._levels, positions[kept]).astype(np.float32) - self._middle
        out *= self._steps[places, None] * self._columns
        return out

    def columns(self, start: int, stop: int) -> FloatArray:
        """Return some columns of all rows: see :meth:`PackedRows.columns`."""
        out = np.zeros((stop - start, len(self)), np.float32)
        for column in range(start, min(stop, self.width)):
            count = int(self._column_rows[column])
            out[column - start, self.order[:count]] = self._decode(column, slice(0, count))
        return out

    def _decode(self, column: int, places: slice) -> FloatArray:
        """Return the values of a column at some places."""
        first = int(self._column_first[column])
        numbers = unpack_digits(self._words, self._levels, first + places.start, first + places.stop)
        values = numbers.astype(np.float32)
        values -= self._middle
        values *= self._steps[places] * self._columns[column]
        return values

    def _read(self, places: slice, index: int) -> FloatArray:
        values = np.empty((places.stop - places.start, int(self._sizes[index])), np.float32)
        for column in range(values.shape[1]):
            values[:, column] = self._decode(column, places)
        return values
