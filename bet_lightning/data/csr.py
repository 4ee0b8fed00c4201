"""A sparse binary matrix in compressed sparse row (CSR) form, in numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.int32] | npt.NDArray[np.int64]

_BLOCK = 1 << 22  # entries that are worked on at once, so that what is temporary stays small


def sort_unique(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sort a one-dimensional int64 array in place and return a view of its unique values, which come first in it.

    On long arrays this is far faster than ``np.unique``, and it needs no second array.
    """
    keys.sort()
    end = 0
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK]
        first = np.ones(len(block), dtype=np.bool_)
        np.not_equal(block[1:], block[:-1], out=first[1:])
        first[0] = not end or block[0] != keys[end - 1]
        unique = block[first]
        keys[end : end + len(unique)] = unique
        end += len(unique)
    return keys[:end]


def _empty_columns(count: int, num_cols: int) -> Columns:
    """Return an array for so many columns below ``num_cols``."""
    return np.empty(count, dtype=np.int32) if num_cols <= 1 << 31 else np.empty(count, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Csr:
    """Sparse binary matrix: sorted rows, and sorted, unique columns within a row.

    Attributes:
        indptr: ``(num_rows + 1,)`` int64. Row ``r`` is ``columns[indptr[r]:indptr[r + 1]]``.
        columns: ``(nnz,)`` int32, the columns of the nonzero entries; int64 where int32 cannot count them.
        num_cols: Number of columns.
    """

    indptr: npt.NDArray[np.int64]
    columns: Columns
    num_cols: int

    @classmethod
    def from_pairs(cls, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], num_rows: int, num_cols: int) -> Csr:
        """Build the matrix from its nonzero entries, in any order; repeated pairs are merged.

        Args:
            rows: ``(n,)`` integers.
            cols: ``(n,)`` integers.
            num_rows: Number of rows.
            num_cols: Number of columns.

        Raises:
            ValueError: If a row or column lies outside the matrix.
        """
        for axis, index, size in (("row", rows, num_rows), ("column", cols, num_cols)):
            if index.size and (index.min() < 0 or index.max() >= size):
                bad = index[(index < 0) | (index >= size)][0]
                raise ValueError(f"{axis} {bad} lies outside [0, {size})")
        return cls.from_keys(sort_unique(rows.astype(np.int64) * num_cols + cols), num_rows, num_cols)

    @classmethod
    def from_keys(cls, keys: npt.NDArray[np.int64], num_rows: int, num_cols: int) -> Csr:
        """Build the matrix from sorted, unique keys ``row * num_cols + column``, ``(nnz,)`` int64."""
        indptr = np.searchsorted(keys, np.arange(num_rows + 1, dtype=np.int64) * num_cols).astype(np.int64, copy=False)
        columns = _empty_columns(len(keys), num_cols)
        for start in range(0, len(keys), _BLOCK):
            columns[start : start + _BLOCK] = keys[start : start + _BLOCK] % num_cols
        return cls(indptr, columns, num_cols)

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The columns of the nonzero entries as a new array, ``(nnz,)`` int64, as torch indexes with."""
        return self.columns.astype(np.int64)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of nonzero entries."""
        return len(self.columns)

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row of each nonzero entry, ``(nnz,)`` int64."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), self.degrees())

    def keys(self) -> npt.NDArray[np.int64]:
        """Return the sorted keys ``row * num_cols + column`` of the nonzero entries, ``(nnz,)`` int64."""
        keys = self.rows()
        keys *= self.num_cols
        keys += self.columns
        return keys

    def degrees(self) -> npt.NDArray[np.int64]:
        """Return the number of nonzero entries of each row, ``(num_rows,)`` int64."""
        return np.diff(self.indptr)

    def column_degrees(self) -> npt.NDArray[np.int64]:
        """Return the number of nonzero entries of each column, ``(num_cols,)`` int64."""
        degrees = np.zeros(self.num_cols, dtype=np.int64)
        for start in range(0, self.nnz, _BLOCK):
            degrees += np.bincount(self.columns[start : start + _BLOCK], minlength=self.num_cols)
        return degrees

    def row_blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows in blocks of few million entries, or of one row: slices of rows and of their entries."""
        ends = np.searchsorted(self.indptr, np.arange(_BLOCK, self.nnz, _BLOCK))
        bounds = np.unique(np.concatenate([[0], ends, [self.num_rows]])).tolist()
        for start, stop in itertools.pairwise(bounds):
            yield slice(start, stop), slice(int(self.indptr[start]), int(self.indptr[stop]))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Csr:
        """Return the matrix of the nonzero entries that an ``(nnz,)`` mask chooses."""
        indptr = np.zeros_like(self.indptr)
        for rows, entries in self.row_blocks():
            below = np.concatenate([[0], np.cumsum(chosen[entries])])
            ends = self.indptr[rows.start + 1 : rows.stop + 1] - entries.start
            indptr[rows.start + 1 : rows.stop + 1] = indptr[rows.start] + below[ends]
        return Csr(indptr, self.columns[chosen], self.num_cols)

    def select(self, row_ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Gather several rows at once.

        Args:
            row_ids: ``(b,)`` int64, in any order, repeats allowed.

        Returns:
            Two ``(n,)`` int64 arrays: for each nonzero entry of these rows its row's position in ``row_ids`` and its
            column, sorted by (position, column).
        """
        starts = self.indptr[row_ids]
        counts = self.indptr[row_ids + 1] - starts
        batch_rows = np.repeat(np.arange(len(row_ids), dtype=np.int64), counts)
        shifts = starts - (np.cumsum(counts) - counts)
        return batch_rows, self.columns[np.arange(len(batch_rows)) + np.repeat(shifts, counts)].astype(np.int64)

    def union(self, other: Csr) -> Csr:
        """Return the matrix whose nonzero entries are those of either matrix.

        Raises:
            ValueError: If the shapes differ.
        """
        shape, other_shape = (self.num_rows, self.num_cols), (other.num_rows, other.num_cols)
        if shape != other_shape:
            raise ValueError(f"cannot unite matrices of shapes {shape} and {other_shape}")
        return Csr.from_keys(sort_unique(np.concatenate([self.keys(), other.keys()])), *shape)

    def difference(self, other: Csr) -> Csr:
        """Return the matrix of the nonzero entries that ``other``, of the same shape, lacks."""
        keys = np.setdiff1d(self.keys(), other.keys(), assume_unique=True)
        return Csr.from_keys(keys, self.num_rows, self.num_cols)

    def __repr__(self) -> str:
        """Show the shape and the number of nonzero entries."""
        return f"Csr({self.num_rows} x {self.num_cols}, nnz={self.nnz})"
