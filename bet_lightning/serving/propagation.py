"""LightGCN's final vectors from a packed table, some columns at a time, in numpy."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from bet_lightning.serving.bounds import OWN_WEIGHT
from bet_lightning.serving.graph import Graph, Side, as_pairs, from_pairs
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.rows import FloatArray, PackedRows, Rows

_ALL = slice(None)


class Reach(NamedTuple):
    """The part of the graph that the last two layers need for the final vectors of some users.

    Attributes:
        users: ``(b,)`` row numbers of the users, or a slice of all.
        items: ``(n,)`` row numbers of the items that they have interacted with, or a slice of all.
        to_users: Products that take values of these items to these users.
        to_items: Products that take values of all users to these items.
    """

    users: Rows | slice
    items: Rows | slice
    to_users: Side
    to_items: Side


class Propagation:
    r"""Means over layers, :math:`\frac{1}{L+1} (a E + \sum_{l=1}^{L} \hat{A}^l E)`, for LightGCN.

    They are Eq. 7 and 8 of arXiv 2002.02126, with a weight a of a row's own parameters, and computed by Horner's rule,
    one product per layer: :math:`V \leftarrow E + \hat{A} V`, the last time with a E. The first product
    reads only rows that can have parameters in its columns. The last two compute only what the final vectors of the
    chosen users need.

    Args:
        table: The table :math:`E`, with at least one layer.
        graph: The graph of its training interactions.

    Attributes:
        num_users: Number of users.
        num_items: Number of items.
        width: Number of columns of final vectors.
    """

    def __init__(self, table: PackedTable, graph: Graph) -> None:
        self._users, self._items = table.rows()
        self._num_layers = int(table.header["backbone"]["num_layers"])
        self._own_weight = np.float32(table.arrays.get(OWN_WEIGHT, 1))
        self._sides = graph.to_users, graph.to_items
        self._from_larger = _larger_only(graph.to_users, self._items), _larger_only(graph.to_items, self._users)
        self.num_users, self.num_items = len(self._users), len(self._items)
        self.width = max(1, self._users.width, self._items.width)

    def blocks(self, num_columns: int) -> list[slice]:
        """Return slices that cover all columns, each of at most ``num_columns``."""
        return [slice(start, min(start + num_columns, self.width)) for start in range(0, self.width, num_columns)]

    def reach(self, users: Rows | None = None) -> Reach:
        """Return what the final vectors of some users need: ``(b,)`` row numbers, or None for all users."""
        to_users, to_items = self._sides
        if users is None:
            return Reach(_ALL, _ALL, to_users, to_items)
        to_users = to_users.take(users)
        items = np.unique(to_users.neighbours.index).astype(np.int64)
        if 2 * to_items.neighbours.counts[items].sum() > len(to_items.neighbours.index):
            return Reach(users, _ALL, to_users, to_items)
        return Reach(users, items, to_users.renumbered(items), to_items.take(items))

    def final(self, columns: slice, reach: Reach) -> tuple[FloatArray, FloatArray]:
        """Compute some columns of final vectors.

        Args:
            columns: The columns.
            reach: What :meth:`reach` returned for the users to compute them for.

        Returns:
            Vectors of these users ``(c, b)`` and of all items ``(c, num_items)``, float32.
        """
        start, stop = columns.start, columns.stop
        own_users, own_items = (as_pairs(rows.columns(start, stop)) for rows in (self._users, self._items))
        users, items = own_users, own_items
        sides = itertools.chain([self._first_sides(start)], itertools.repeat(self._sides))
        for to_users, to_items in itertools.islice(sides, max(0, self._num_layers - 2)):
            users, items = to_users.product(items, own_users), to_items.product(users, own_items)
        near = items[:, reach.items]
        if self._num_layers > 1:
            near = reach.to_items.product(users, own_items[:, reach.items])
            users = next(sides)[0].product(items, own_users)
        chosen, weighted = own_users[:, reach.users] * self._own_weight, own_items * self._own_weight
        chosen, items = reach.to_users.product(near, chosen), next(sides)[1].product(users, weighted)
        factor = np.float32(1 / (self._num_layers + 1))
        return from_pairs(chosen * factor, stop - start), from_pairs(items * factor, stop - start)

    def _first_sides(self, start: int) -> tuple[Side, Side]:
        """Return both sides for the first product with columns from ``start`` on."""
        to_users = self._from_larger[0] if start >= self._items.smallest else self._sides[0]
        to_items = self._from_larger[1] if start >= self._users.smallest else self._sides[1]
        return to_users, to_items


def _larger_only(side: Side, rows: PackedRows) -> Side:
    """Return the side for values of rows above the smallest size, if that halves its edges; else the side itself."""
    larger = side.among(rows.are_larger())
    return larger if 2 * len(larger.neighbours.index) <= len(side.neighbours.index) else side
