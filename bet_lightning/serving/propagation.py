"""LightGCN's final vectors from a packed table, some columns at a time, in numpy."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from bet_lightning.serving.graph import Graph, Side, as_pairs, from_pairs
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.rows import FloatArray, PackedRows, Rows

_ALL = slice(None)


class Reach(NamedTuple):
    """What users' final vectors need of the last two layers.

    Attributes:
        users: ``(b,)`` row numbers, or all.
        items: ``(n,)`` items next to them, or all.
        to_users: Takes values of these items to the users.
        to_items: Takes values of all users to these items.
    """

    users: Rows | slice
    items: Rows | slice
    to_users: Side
    to_items: Side


class Propagation:
    r"""Means of a table's layers, :math:`\frac{1}{L+1} \sum_l \hat{A}^l E` (LightGCN, arXiv 2002.02126, Eq. 7 and 8).

    They are made by Horner's rule, a layer each: :math:`V \leftarrow E + \hat{A} V`. The first has only rows with
    parameters to look at, the last two only what the users reach whose final vectors are asked for.

    Args:
        table: The table.
        graph: Its training interactions.

    Attributes:
        num_users: Number of users.
        num_items: Number of items.
        width: Columns of final vectors.
    """

    def __init__(self, table: PackedTable, graph: Graph) -> None:
        self._users, self._items = table.rows()
        self._num_layers = int(table.header["backbone"]["num_layers"])
        self._sides = graph.to_users, graph.to_items
        self._from_larger = _larger_only(graph.to_users, self._items), _larger_only(graph.to_items, self._users)
        self.num_users, self.num_items = len(self._users), len(self._items)
        self.width = max(1, self._users.width, self._items.width)

    def blocks(self, num_columns: int) -> list[slice]:
        """All columns, so many at a time."""
        return [slice(start, min(start + num_columns, self.width)) for start in range(0, self.width, num_columns)]

    def reach(self, users: Rows | None = None) -> Reach:
        """What some users need, or all."""
        to_users, to_items = self._sides
        if users is None:
            return Reach(_ALL, _ALL, to_users, to_items)
        to_users = to_users.take(users)
        items = np.unique(to_users.neighbours.index).astype(np.int64)
        if 2 * to_items.neighbours.counts[items].sum() > len(to_items.neighbours.index):
            return Reach(users, _ALL, to_users, to_items)
        return Reach(users, items, to_users.renumbered(items), to_items.take(items))

    def final(self, columns: slice, reach: Reach) -> tuple[FloatArray, FloatArray]:
        """Some columns of final vectors.

        Args:
            columns: Which.
            reach: Of the users to make them for.

        Returns:
            Those of these users ``(c, b)`` and of all items ``(c, num_items)``.
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
        chosen = own_users[:, reach.users]
        if self._num_layers:
            chosen = reach.to_users.product(near, chosen)
            items = next(sides)[1].product(users, own_items)
        factor = np.float32(1 / (self._num_layers + 1))
        return from_pairs(chosen * factor, stop - start), from_pairs(items * factor, stop - start)

    def _first_sides(self, start: int) -> tuple[Side, Side]:
        """What the first product with columns from ``start`` on is to look at."""
        to_users = self._from_larger[0] if start >= self._items.smallest else self._sides[0]
        to_items = self._from_larger[1] if start >= self._users.smallest else self._sides[1]
        return to_users, to_items


def _larger_only(side: Side, rows: PackedRows) -> Side:
    """A product with what only rows above the smallest size have, if that spares half of it; else the side itself."""
    larger = side.among(rows.are_larger())
    return larger if 2 * len(larger.neighbours.index) <= len(side.neighbours.index) else side
