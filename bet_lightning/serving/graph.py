"""Interactions in compact form, and products with their normalised graph, in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.ids import smallest_dtype
from bet_lightning.serving.rows import FloatArray

_EDGES_AT_ONCE = 1 << 16  # gathered at a time


class Neighbours:
    """Neighbours of each row: a sparse binary matrix of ``(n, m)``.

    Args:
        counts: ``(n,)`` neighbours of each row.
        index: ``(sum of counts,)`` them, row after row, sorted and unique within a row, of any unsigned dtype.
        num_cols: m.

    Attributes:
        starts: ``(n + 1,)`` where each row's begin.
    """

    def __init__(self, counts: npt.NDArray[Any], index: npt.NDArray[Any], num_cols: int) -> None:
        self.counts, self.index, self.num_cols = counts, index, num_cols
        self.starts = np.zeros(len(counts) + 1, smallest_dtype(len(index)) if len(index) else np.uint8)
        np.cumsum(counts, out=self.starts[1:])

    def transpose(self) -> Neighbours:
        """The same pairs from the other side."""
        order = np.argsort(self.index, kind="stable")
        rows = np.repeat(np.arange(len(self.counts), dtype=smallest_dtype(len(self.counts))), self.counts)
        return Neighbours(np.bincount(self.index, minlength=self.num_cols), rows[order], len(self.counts))

    def of(self, rows: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Neighbours of some rows.

        Args:
            rows: ``(b,)`` row numbers.

        Returns:
            Two ``(e,)`` arrays: positions in ``rows``, and neighbours.
        """
        starts, counts = self.starts[rows].astype(np.int64), self.counts[rows].astype(np.int64)
        positions = np.repeat(np.arange(len(rows)), counts)
        shifts = starts - (np.cumsum(counts) - counts)
        return positions, self.index[np.arange(len(positions)) + shifts[positions]].astype(np.int64)

    def sum(self, values: FloatArray) -> FloatArray:
        """Sums over each row's neighbours.

        Args:
            values: ``(c, m)`` float32, a value of each neighbour, c times.

        Returns:
            ``(c, n)`` float32.
        """
        out = np.zeros((-(-len(values) // 2), len(self.counts)), np.complex64)
        # two values as one complex number: numpy gathers and adds both at once, in less time than one of them
        both = np.zeros((len(out), self.num_cols), np.complex64)
        both.real = values[0::2]
        both.imag[: len(values) // 2] = values[1::2]
        filled = np.flatnonzero(self.counts)
        starts = self.starts[filled].astype(np.int64)
        cuts = np.append(np.searchsorted(starts, np.arange(0, len(self.index), _EDGES_AT_ONCE)), len(filled))
        for first, last in itertools.pairwise(cuts.tolist()):
            if first == last:  # the row before has more neighbours than that
                continue
            begin, end = starts[first], starts[last] if last < len(filled) else len(self.index)
            index, rows = self.index[begin:end].astype(np.intp), filled[first:last]
            for total, pair in zip(out, both, strict=True):
                total[rows] = np.add.reduceat(pair[index], starts[first:last] - begin)
        return _split(out)[: len(values)]


def _split(pairs: npt.NDArray[np.complex64]) -> FloatArray:
    """Real and imaginary parts in turns, ``(p, n)`` to ``(2 p, n)`` float32."""
    return np.stack([pairs.real, pairs.imag], axis=1).reshape(2 * len(pairs), -1)


class Graph:
    r"""Products with :math:`\hat{A} = D^{-1/2} A D^{-1/2}` of users and items (LightGCN, arXiv 2002.02126, Eq. 8).

    Args:
        items: Items of each user.
    """

    def __init__(self, items: Neighbours) -> None:
        self.items, self.users = items, items.transpose()
        self._user_scale, self._item_scale = (_inverse_root(side.counts) for side in (self.items, self.users))

    def product(self, users: FloatArray, items: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The product with vectors of users ``(c, num_users)`` and items ``(c, num_items)``: both sides of it."""
        of_users = self.items.sum(items * self._item_scale)
        of_items = self.users.sum(users * self._user_scale)
        of_users *= self._user_scale
        of_items *= self._item_scale
        return of_users, of_items


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
