"""A sparse binary matrix in compressed sparse row (CSR) form, in numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def sort_unique(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sorted unique values of a one-dimensional int64 array.

    On long arrays this is far faster than ``np.unique``.
    """
    keys = np.sort(keys)
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


@dataclass(frozen=True, eq=False)
class Csr:
    """Sparse binary matrix: sorted rows, and sorted, unique columns within a row.

    Attributes:
        indptr: ``(num_rows + 1,)`` int64. Row ``r`` is ``indices[indptr[r]:indptr[r + 1]]``.
        indices: ``(nnz,)`` int64, the columns of the nonzero entries.
        num_cols: Number of columns.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
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
        rows = keys // max(num_cols, 1)
        indptr = np.zeros(num_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
        return cls(indptr, keys - rows * num_cols, num_cols)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of nonzero entries."""
        return len(self.indices)

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row of each nonzero entry, ``(nnz,)`` int64."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), self.degrees())

    def keys(self) -> npt.NDArray[np.int64]:
        """Return the sorted keys ``row * num_cols + column`` of the nonzero entries, ``(nnz,)`` int64."""
        return self.rows() * self.num_cols + self.indices

    def degrees(self) -> npt.NDArray[np.int64]:
        """Return the number of nonzero entries of each row, ``(num_rows,)`` int64."""
        return np.diff(self.indptr)

    def column_degrees(self) -> npt.NDArray[np.int64]:
        """Return the number of nonzero entries of each column, ``(num_cols,)`` int64."""
        return np.bincount(self.indices, minlength=self.num_cols).astype(np.int64, copy=False)

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
        return batch_rows, self.indices[np.arange(len(batch_rows)) + np.repeat(shifts, counts)]

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
