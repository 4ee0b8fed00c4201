"""Interactions in compact form, and products with their normalised graph, in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.gaps import pack_gaps, unpack_gaps
from bet_lightning.serving.ids import smallest_dtype
from bet_lightning.serving.rows import FloatArray

_EDGES_AT_ONCE = 1 << 15  # gathered at once
Pairs = npt.NDArray[np.complex64]


class Neighbours:
    """Neighbours of each row: a sparse binary matrix ``(n, m)``.

    Args:
        counts: ``(n,)`` number of neighbours of each row.
        index: ``(sum of counts,)`` columns of the neighbours, row after row, sorted and unique within a row. Both
            arrays may have any unsigned dtype.
        num_cols: Number of columns m.
    """

    def __init__(self, counts: npt.NDArray[Any], index: npt.NDArray[Any], num_cols: int) -> None:
        self.counts = counts
        self.index = index
        self.num_cols = num_cols

    @cached_property
    def starts(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """``(n + 1,)`` positions in ``index`` where each row begins, and the end of the last row."""
        starts = np.zeros(len(self.counts) + 1, smallest_dtype(len(self.index)))
        np.cumsum(self.counts, out=starts[1:])
        return starts

    def transpose(self) -> Neighbours:
        """Return the transposed matrix: the rows that each column is a neighbour of."""
        # In blocks, because numpy's temporary arrays take eight bytes per edge.
        blocks = [slice(begin, begin + _EDGES_AT_ONCE) for begin in range(0, len(self.index), _EDGES_AT_ONCE)]
        counts = np.zeros(self.num_cols, smallest_dtype(len(self.counts)))
        for block in blocks:
            counts += np.bincount(self.index[block], minlength=self.num_cols).astype(counts.dtype)
        ends = np.cumsum(counts, dtype=np.int64) - counts  # where the next row of each column goes
        index = np.empty(len(self.index), smallest_dtype(len(self.counts)))
        for block in blocks:
            order = np.argsort(self.index[block], kind="stable")
            found, firsts, times = np.unique(self.index[block][order], return_index=True, return_counts=True)
            positions = np.arange(len(order)) + np.repeat(ends[found] - firsts, times)
            index[positions] = np.searchsorted(self.starts, block.start + order, side="right") - 1
            ends[found] += times
        return Neighbours(counts, index, len(self.counts))

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Neighbours:
        """Return the matrix of some rows, ``(b,)`` row numbers, in the order given."""
        counts = self.counts[rows].astype(np.int64)
        positions = np.repeat(self.starts[rows].astype(np.int64) - (np.cumsum(counts) - counts), counts)
        positions += np.arange(len(positions))
        return Neighbours(counts, self.index[positions], self.num_cols)

    def among(self, kept: npt.NDArray[np.bool_]) -> Neighbours:
        """Return the matrix with only the neighbours that are kept, ``(m,)`` bool."""
        counts = np.zeros(len(self.counts), self.counts.dtype)
        index = []
        for rows, starts, columns in self._blocks():
            is_kept = kept[columns]
            counts[rows] = np.add.reduceat(is_kept, starts, dtype=counts.dtype)
            index.append(columns[is_kept])
        return Neighbours(counts, np.concatenate([self.index[:0], *index]), self.num_cols)

    def renumbered(self, columns: npt.NDArray[np.integer[Any]]) -> Neighbours:
        """Return the matrix of fewer columns.

        Args:
            columns: ``(k,)`` sorted column numbers, among which are all neighbours.

        Returns:
            ``(n, k)``, the same pairs with columns numbered by their position in ``columns``.
        """
        index = np.searchsorted(columns, self.index).astype(self.index.dtype)
        return Neighbours(self.counts, index, len(columns))

    def of(self, rows: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the neighbours of some rows.

        Args:
            rows: ``(b,)`` row numbers.

        Returns:
            Two ``(e,)`` int64 arrays: positions in ``rows``, and neighbours.
        """
        found = self.take(rows)
        return np.repeat(np.arange(len(rows)), found.counts), found.index.astype(np.int64)

    def sum(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sum values over each row's neighbours.

        Args:
            values: ``(c, m)``, c values of each neighbour.

        Returns:
            ``(c, n)`` of the same dtype.
        """
        out = np.zeros((len(values), len(self.counts)), values.dtype)
        for rows, starts, columns in self._blocks():
            index = columns.astype(np.intp)
            for total, each in zip(out, values, strict=True):
                total[rows] = np.add.reduceat(each[index], starts)
        return out

    @cached_property
    def _filled(self) -> tuple[npt.NDArray[np.int32], list[int], list[int]]:
        """Rows that have neighbours, the bounds of blocks of these rows, and the bounds of the blocks in ``index``."""
        filled = np.flatnonzero(self.counts).astype(np.int32)
        ends = np.cumsum(self.counts[filled], dtype=np.int64)
        cuts = np.searchsorted(ends, np.arange(0, len(self.index), _EDGES_AT_ONCE), side="right")
        cuts = np.unique([*cuts, len(filled)])
        return filled, cuts.tolist(), [int(ends[cut - 1]) if cut else 0 for cut in cuts]

    def _blocks(self) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Yield blocks of the rows that have neighbours.

        Yields:
            The rows' numbers ``(b,)``, the start of each row's neighbours within the block ``(b,)``, and the neighbours
            ``(e,)``.
        """
        filled, cuts, edges = self._filled
        for rows, (begin, end) in zip(itertools.pairwise(cuts), itertools.pairwise(edges), strict=True):
            some = filled[slice(*rows)]
            counts = self.counts[some]
            yield some, np.cumsum(counts, dtype=np.int64) - counts, self.index[begin:end]


def as_pairs(values: FloatArray) -> Pairs:
    """Combine columns ``(c, n)`` two by two into complex numbers ``(ceil(c / 2), n)``.

    numpy gathers and adds a complex number in hardly more time than a single float.
    """
    pairs = np.zeros((-(-len(values) // 2), values.shape[1]), np.complex64)
    pairs.real = values[0::2]
    pairs.imag[: len(values) // 2] = values[1::2]
    return pairs


def from_pairs(pairs: Pairs, num_columns: int) -> FloatArray:
    """Undo :func:`as_pairs` of ``num_columns`` columns."""
    return np.stack([pairs.real, pairs.imag], axis=1).reshape(2 * len(pairs), -1)[:num_columns]


class Side(NamedTuple):
    r"""Products with one half of :math:`\hat{A} = D^{-1/2} A D^{-1/2}` (LightGCN, arXiv 2002.02126, Eq. 8).

    Attributes:
        neighbours: ``(n, m)``, the nonzero entries of this half.
        scale: ``(n,)`` float32, inverse square roots of the rows' degrees.
        other_scale: ``(m,)`` float32, inverse square roots of the columns' degrees.
    """

    neighbours: Neighbours
    scale: FloatArray
    other_scale: FloatArray

    def product(self, values: npt.NDArray[Any], plus: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return the product with values of the columns.

        Args:
            values: ``(c, m)`` float32 or complex64.
            plus: ``(c, n)`` of the same dtype, added to the product if given.

        Returns:
            ``(c, n)`` of the same dtype.
        """
        out = self.neighbours.sum(values * self.other_scale)
        out *= self.scale
        if plus is not None:
            out += plus
        return out

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Side:
        """Return the side of some rows only, ``(b,)`` row numbers."""
        return self._replace(neighbours=self.neighbours.take(rows), scale=self.scale[rows])

    def renumbered(self, columns: npt.NDArray[np.integer[Any]]) -> Side:
        """Return the side for values of some columns only: ``(k,)`` sorted, among which are all neighbours."""
        return self._replace(neighbours=self.neighbours.renumbered(columns), other_scale=self.other_scale[columns])

    def among(self, kept: npt.NDArray[np.bool_]) -> Side:
        """Return the side for values that are zero except where ``kept``, ``(m,)`` bool, is true."""
        return self._replace(neighbours=self.neighbours.among(kept))


class Graph:
    """The normalised graph of users and items.

    Args:
        items: The items that each user has interacted with, ``(num_users, num_items)``.

    Attributes:
        to_users: Products that take values of items to users.
        to_items: Products that take values of users to items.
    """

    def __init__(self, items: Neighbours) -> None:
        users = items.transpose()
        user_scale, item_scale = (_inverse_root(side.counts) for side in (items, users))
        self.to_users, self.to_items = Side(items, user_scale, item_scale), Side(users, item_scale, user_scale)

    def product(self, users: FloatArray, items: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the product with the vectors of users and items.

        Args:
            users: ``(c, num_users)`` float32.
            items: ``(c, num_items)`` float32.

        Returns:
            The product's vectors of users and of items, in the same shapes.
        """
        of_users, of_items = self.to_users.product(as_pairs(items)), self.to_items.product(as_pairs(users))
        return from_pairs(of_users, len(items)), from_pairs(of_items, len(users))


def _inverse_root(counts: npt.NDArray[Any]) -> FloatArray:
    return np.asarray(np.maximum(counts, 1).astype(np.float64) ** -0.5, np.float32)


def pack_pairs(
    name: str, counts: npt.NDArray[np.int64], index: npt.NDArray[np.int64], num_cols: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that pairs are stored as.

    Args:
        name: Beginning of the arrays' names.
        counts: ``(n,)`` number of pairs of each row.
        index: ``(sum of counts,)`` columns, row after row, sorted and unique within a row.
        num_cols: Number of columns.

    Returns:
        The arrays by name: see :mod:`bet_lightning.serving.gaps`.
    """
    quotients, remainders = pack_gaps(counts, index, num_cols)
    return {f"{name}.quotients": quotients, f"{name}.remainders": remainders}


def has_pairs(name: str, arrays: Container[str]) -> bool:
    """Return whether pairs of a name are among the arrays, in the form of this version or of version 1."""
    return f"{name}.quotients" in arrays or f"{name}.items" in arrays


def unpack_pairs(name: str, arrays: Mapping[str, npt.NDArray[Any]], num_rows: int, num_cols: int) -> Neighbours:
    """Return the pairs that :func:`pack_pairs` stored.

    Args:
        name: Beginning of the arrays' names.
        arrays: All arrays by name.
        num_rows: Number of rows that the pairs must have.
        num_cols: Number of columns that the pairs must fit.

    Raises:
        ValueError: If they are not sorted and unique pairs of ``num_rows`` rows and ``num_cols`` columns.
    """
    if f"{name}.items" in arrays:
        return _unpack_plain_pairs(name, arrays, num_rows, num_cols)
    try:
        counts, index = unpack_gaps(arrays[f"{name}.quotients"], arrays[f"{name}.remainders"], num_rows, num_cols)
    except ValueError as error:
        raise ValueError(f"{name} has other rows or columns than the table: {error}") from error
    return Neighbours(counts, index, num_cols)


def _unpack_plain_pairs(name: str, arrays: Mapping[str, npt.NDArray[Any]], num_rows: int, num_cols: int) -> Neighbours:
    """Check the counts and columns that tables of version 1 store as they are."""
    counts, index = arrays[f"{name}.counts"], arrays[f"{name}.items"]
    if len(counts) != num_rows or counts.sum(dtype=np.int64) != len(index) or index.max(initial=0) >= num_cols:
        raise ValueError(f"{name} has other rows or columns than the table")
    pairs = Neighbours(counts, index, num_cols)
    rises = np.ones(len(index), np.bool_)
    rises[1:] = index[1:] > index[:-1]
    rises[pairs.starts[:-1][np.asarray(counts) > 0]] = True
    if not rises.all():
        raise ValueError(f"{name} has pairs that are not sorted")
    return pairs
