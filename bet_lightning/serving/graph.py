"""Interactions in compact form, and products with their normalised graph, in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.ids import smallest_dtype
from bet_lightning.serving.rows import FloatArray

_EDGES_AT_ONCE = 1 << 15  # gathered at a time
Pairs = npt.NDArray[np.complex64]


class Neighbours:
    """Neighbours of each row: a sparse binary matrix of ``(n, m)``.

    Args:
        counts: ``(n,)`` neighbours of each row.
        index: ``(sum of counts,)`` them, row after row, sorted and unique within a row, of any unsigned dtype.
        num_cols: m.
    """

    def __init__(self, counts: npt.NDArray[Any], index: npt.NDArray[Any], num_cols: int) -> None:
        self.counts, self.index, self.num_cols = counts, index, num_cols

    @cached_property
    def starts(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """``(n + 1,)`` where each row's begin."""
        starts = np.zeros(len(self.counts) + 1, smallest_dtype(len(self.index)))
        np.cumsum(self.counts, out=starts[1:])
        return starts

    def transpose(self) -> Neighbours:
        """The same pairs from the other side."""
        # in blocks: what numpy needs on the way is eight bytes an edge
        blocks = [slice(begin, begin + _EDGES_AT_ONCE) for begin in range(0, len(self.index), _EDGES_AT_ONCE)]
        counts = np.zeros(self.num_cols, smallest_dtype(len(self.counts)))
        for block in blocks:
            counts += np.bincount(self.index[block], minlength=self.num_cols).astype(counts.dtype)
        ends = np.cumsum(counts, dtype=np.int64) - counts  # of what each column has so far
        index = np.empty(len(self.index), smallest_dtype(len(self.counts)))
        for block in blocks:
            order = np.argsort(self.index[block], kind="stable")
            found, firsts, times = np.unique(self.index[block][order], return_index=True, return_counts=True)
            places = np.arange(len(order)) + np.repeat(ends[found] - firsts, times)
            index[places] = np.searchsorted(self.starts, block.start + order, side="right") - 1
            ends[found] += times
        return Neighbours(counts, index, len(self.counts))

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Neighbours:
        """Some rows, ``(b,)`` numbers, in their order."""
        counts = self.counts[rows].astype(np.int64)
        places = np.repeat(self.starts[rows].astype(np.int64) - (np.cumsum(counts) - counts), counts)
        places += np.arange(len(places))
        return Neighbours(counts, self.index[places], self.num_cols)

    def among(self, kept: npt.NDArray[np.bool_]) -> Neighbours:
        """Only neighbours that are kept, ``(m,)``."""
        counts, index = np.zeros(len(self.counts), self.counts.dtype), []
        for rows, starts, columns in self._blocks():
            is_kept = kept[columns]
            counts[rows] = np.add.reduceat(is_kept, starts, dtype=counts.dtype)
            index.append(columns[is_kept])
        return Neighbours(counts, np.concatenate([self.index[:0], *index]), self.num_cols)

    def renumbered(self, columns: npt.NDArray[np.integer[Any]]) -> Neighbours:
        """The same pairs where only these columns are left, ``(k,)`` sorted, which have all neighbours among them."""
        index = np.searchsorted(columns, self.index).astype(self.index.dtype)
        return Neighbours(self.counts, index, len(columns))

    def of(self, rows: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Neighbours of some rows.

        Args:
            rows: ``(b,)`` row numbers.

        Returns:
            Two ``(e,)`` arrays: positions in ``rows``, and neighbours.
        """
        found = self.take(rows)
        return np.repeat(np.arange(len(rows)), found.counts), found.index.astype(np.int64)

    def sum(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums over each row's neighbours.

        Args:
            values: ``(c, m)``, a value of each neighbour, c times.

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
        """Rows that have neighbours, and where the blocks of them begin and end and where their neighbours do."""
        filled = np.flatnonzero(self.counts).astype(np.int32)
        ends = np.cumsum(self.counts[filled], dtype=np.int64)
        cuts = np.searchsorted(ends, np.arange(0, len(self.index), _EDGES_AT_ONCE), side="right")
        cuts = np.unique([*cuts, len(filled)])
        return filled, cuts.tolist(), [int(ends[cut - 1]) if cut else 0 for cut in cuts]

    def _blocks(self) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Rows that have neighbours, some at a time, where theirs begin, and these."""
        filled, cuts, edges = self._filled
        for rows, (begin, end) in zip(itertools.pairwise(cuts), itertools.pairwise(edges), strict=True):
            some = filled[slice(*rows)]
            counts = self.counts[some]
            yield some, np.cumsum(counts, dtype=np.int64) - counts, self.index[begin:end]


def as_pairs(values: FloatArray) -> Pairs:
    """Columns ``(c, n)`` two by two as complex numbers ``(ceil(c / 2), n)``.

    numpy gathers and adds both at once, in less time than one of them.
    """
    pairs = np.zeros((-(-len(values) // 2), values.shape[1]), np.complex64)
    pairs.real = values[0::2]
    pairs.imag[: len(values) // 2] = values[1::2]
    return pairs


def from_pairs(pairs: Pairs, num_columns: int) -> FloatArray:
    """What :func:`as_pairs` was given, of so many columns."""
    return np.stack([pairs.real, pairs.imag], axis=1).reshape(2 * len(pairs), -1)[:num_columns]


class Side(NamedTuple):
    r"""Products with one half of :math:`\hat{A} = D^{-1/2} A D^{-1/2}` (LightGCN, arXiv 2002.02126, Eq. 8).

    Attributes:
        neighbours: Of ``(n, m)``.
        scale: ``(n,)`` float32, the inverse roots of the rows' degrees.
        other_scale: ``(m,)`` float32, those of the other side's.
    """

    neighbours: Neighbours
    scale: FloatArray
    other_scale: FloatArray

    def product(self, values: npt.NDArray[Any], plus: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The product with ``(c, m)``, float32 or complex64, plus ``(c, n)`` of the same dtype if given: ``(c, n)``."""
        out = self.neighbours.sum(values * self.other_scale)
        out *= self.scale
        if plus is not None:
            out += plus
        return out

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> Side:
        """The product's values of some rows only, ``(b,)`` numbers."""
        return self._replace(neighbours=self.neighbours.take(rows), scale=self.scale[rows])

    def renumbered(self, columns: npt.NDArray[np.integer[Any]]) -> Side:
        """The product with values of some columns only, ``(k,)`` sorted, which have all neighbours among them."""
        return self._replace(neighbours=self.neighbours.renumbered(columns), other_scale=self.other_scale[columns])

    def among(self, kept: npt.NDArray[np.bool_]) -> Side:
        """The product with values that are zero but for those kept, ``(m,)``."""
        return self._replace(neighbours=self.neighbours.among(kept))


class Graph:
    """The normalised graph of users and items.

    Args:
        items: Items of each user.

    Attributes:
        to_users: Products that take values of items to users.
        to_items: Products that take values of users to items.
    """

    def __init__(self, items: Neighbours) -> None:
        users = items.transpose()
        user_scale, item_scale = (_inverse_root(side.counts) for side in (items, users))
        self.to_users, self.to_items = Side(items, user_scale, item_scale), Side(users, item_scale, user_scale)

    def product(self, users: FloatArray, items: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The product with vectors of users ``(c, num_users)`` and items ``(c, num_items)``: both sides of it."""
        of_users, of_items = self.to_users.product(as_pairs(items)), self.to_items.product(as_pairs(users))
        return from_pairs(of_users, len(items)), from_pairs(of_items, len(users))


def _inverse_root(counts: npt.NDArray[Any]) -> FloatArray:
    return np.asarray(np.maximum(counts, 1).astype(np.float64) ** -0.5, np.float32)


def pack_pairs(name: str, counts: npt.NDArray[np.int64], index: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Arrays that pairs are stored as.

    Args:
        name: What their names begin with.
        counts: ``(n,)`` pairs of each row.
        index: ``(sum of counts,)`` columns, row after row, sorted and unique within a row.
    """
    return {
        f"{name}.counts": counts.astype(smallest_dtype(int(counts.max(initial=0)))),
        f"{name}.items": index.astype(smallest_dtype(int(index.max(initial=0)))),
    }


def unpack_pairs(name: str, arrays: Mapping[str, npt.NDArray[Any]], num_rows: int, num_cols: int) -> Neighbours:
    """The pairs that :func:`pack_pairs` stored.

    Raises:
        ValueError: If they are not sorted and unique pairs of so many rows and columns.
    """
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
