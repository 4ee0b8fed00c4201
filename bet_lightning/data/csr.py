"""A sparse binary matrix in compressed rows, in numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def sort_unique(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sorted unique values of a 1-d int64 array, by sorting: on long arrays far faster than `np.unique`."""
    keys = np.sort(keys)
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


@dataclass(frozen=True, eq=False)
class Csr:
    """Sparse binary matrix: sorted rows, and sorted, unique columns within a row.

    Attributes:
        indptr: int64 of shape `(num_rows + 1,)`; row `r` is `indices[indptr[r]:indptr[r + 1]]`.
        indices: int64 of shape `(nnz,)`, the columns of the ones.
        num_cols: number of columns.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    num_cols: int

    @classmethod
    def from_pairs(cls, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], num_rows: int, num_cols: int) -> Csr:
        """Build the matrix from its ones, in any order; repeated pairs are merged.

        Args:
            rows: integer array of shape `(n,)`.
            cols: integer array of shape `(n,)`.
            num_rows: number of rows.
            num_cols: number of columns.

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
        """Build the matrix from sorted, unique keys `row * num_cols + column`, int64 of shape `(nnz,)`."""
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
        """Number of ones."""
        return len(self.indices)

    def rows(self) -> npt.NDArray[np.int64]:
        """Row of every one, int64 of shape `(nnz,)`."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), self.degrees())

    def keys(self) -> npt.NDArray[np.int64]:
        """Sorted keys `row * num_cols + column` of the ones, int64 of shape `(nnz,)`."""
        return self.rows() * self.num_cols + self.indices

    def degrees(self) -> npt.NDArray[np.int64]:
        """Ones per row, int64 of shape `(num_rows,)`."""
        return np.diff(self.indptr)

    def column_degrees(self) -> npt.NDArray[np.int64]:
        """Ones per column, int64 of shape `(num_cols,)`."""
        return np.bincount(self.indices, minlength=self.num_cols).astype(np.int64, copy=False)

    def select(self, row_ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Gather several rows at once.

        Args:
            row_ids: int64 of shape `(b,)`, in any order, repeats allowed.

        Returns:
            Two int64 arrays of shape `(n,)`: the position in `row_ids` and the column of every one of these
            rows, sorted by (position, column).
        """
        starts = self.indptr[row_ids]
        counts = self.indptr[row_ids + 1] - starts
        batch_rows = np.repeat(np.arange(len(row_ids), dtype=np.int64), counts)
        shifts = starts - (np.cumsum(counts) - counts)
        return batch_rows, self.indices[np.arange(len(batch_rows)) + np.repeat(shifts, counts)]

    def union(self, other: Csr) -> Csr:
        """Matrix with the ones of both.

        Raises:
            ValueError: If the shapes differ.
        """
        shape, other_shape = (self.num_rows, self.num_cols), (other.num_rows, other.num_cols)
        if shape != other_shape:
            raise ValueError(f"cannot unite matrices of shapes {shape} and {other_shape}")
        return Csr.from_keys(sort_unique(np.concatenate([self.keys(), other.keys()])), *shape)

    def difference(self, other: Csr) -> Csr:
        """Matrix with the ones of this one that `other`, of the same shape, lacks."""
        keys = np.setdiff1d(self.keys(), other.keys(), assume_unique=True)
        return Csr.from_keys(keys, self.num_rows, self.num_cols)

    def __repr__(self) -> str:
        """Show the sizes."""
        return f"Csr({self.num_rows} x {self.num_cols}, nnz={self.nnz})"
