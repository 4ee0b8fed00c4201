"""Scores of all items for some users from a packed table, one class a backbone, in numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.graph import Graph
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.rows import FloatArray

COLUMNS = 4  # that propagate at a time
Rows = npt.NDArray[np.int64]
_TINY = float(np.finfo(np.float32).tiny)
_USERS_A_PRODUCT = 8  # where a product is added to scores: what it takes beside them
_ITEMS_A_TOWER = 1024  # items a block of NeuMF's hidden units, times users
_USERS_A_TOWER = 4


class Scorer(ABC):
    """Scores items in an order of its own.

    Attributes:
        item_order: ``(num_items,)`` the item at each place.
        item_place: ``(num_items,)`` the place of each item.
    """

    item_order: npt.NDArray[np.int32]
    item_place: npt.NDArray[np.int32]

    @abstractmethod
    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users.

        Args:
            users: ``(b,)`` row numbers.
            out: ``(b, num_items)`` float32, overwritten: scores in the order of ``item_order``. To be used again: fresh
                memory would cost more than what is written into it.
        """


class ItemScale:
    r"""What a sampled softmax multiplies items' scores by: :math:`\|z_i\|^{p - 1} f_i^q`.

    Args:
        table: Its header has the powers, or no softmax.
        popularity: ``(num_items,)`` training interactions of each item.
    """

    def __init__(self, table: PackedTable, popularity: npt.NDArray[np.int64]) -> None:
        self._powers = table.header["softmax"]
        self._popularity = np.maximum(popularity, 1).astype(np.float32)

    def of(self, squared_norms: FloatArray) -> FloatArray | None:
        """``(num_items,)`` factors of all items, from the squared norms of their vectors; None if all are one."""
        if self._powers is None:
            return None
        norms = np.maximum(np.sqrt(squared_norms), np.float32(_TINY))
        factors: FloatArray = norms ** np.float32(self._powers["norm_power"] - 1)
        factors *= self._popularity ** np.float32(self._powers["popularity_power"])
        return factors


class MFScorer(Scorer):
    """Matrix factorisation: a product a group of items of one size, as wide as they are.

    Items' values are views of the file where it has what they are multiplied with, else held as float32.
    """

    def __init__(self, table: PackedTable, scale: ItemScale) -> None:
        self._users, items = table.rows()
        self.item_order, self.item_place = items.order, items.place
        norms = np.zeros(table.num_items, np.float32)
        for places, values in items.groups():
            norms[self.item_order[places]] = np.einsum("ij,ij->i", values, values)
        factors = scale.of(norms)
        self._groups = []
        for places, values in items.groups():
            used = values[:, : self._users.width]
            scaled = used if factors is None else used * factors[self.item_order[places], None]
            self._groups.append((places, scaled.T))

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        vectors, done = self._users.gather(users), 0
        for places, values in self._groups:
            np.matmul(vectors[:, : len(values)], values, out=out[:, places])
            done = places.stop
        out[:, done:] = 0


class NeuMFScorer(Scorer):
    """NeuMF: items' hidden units are made anew for a block of users at a time, from their packed rows."""

    def __init__(self, table: PackedTable) -> None:
        self._users, self._items = zip(table.rows(0), table.rows(1), strict=True)
        self.item_order, self.item_place = self._items[0].order, self._items[0].place
        if not np.array_equal(self._items[1].order, self.item_order):
            raise ValueError("the two tables have their rows in different orders")
        size, depth = int(table.header["backbone"]["max_size"]), 0
        self._size = size
        self._tower = []
        width = 2 * size
        while f"dense.tower.{depth}.weight" in table.tensors:
            weight = table.dense(f"tower.{depth}.weight", -1, width)
            self._tower.append((weight, table.dense(f"tower.{depth}.bias", len(weight))))
            width, depth = len(weight), depth + 1
        if not depth:
            raise ValueError("there is no tower")
        output = table.dense("output.weight", 1, size + width)[0]
        self._gmf_weight, self._mlp_weight = output[:size], output[size:]
        self._bias = table.dense("output.bias", 1)

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        gmf, mlp = (rows.gather(users) for rows in self._users)
        gmf = gmf * self._gmf_weight[: gmf.shape[1]]
        weight, bias = self._tower[0]
        user_half = mlp @ weight[:, : mlp.shape[1]].T + bias
        out[:] = self._bias
        for places, values in self._items[0].groups():
            size = min(values.shape[1], gmf.shape[1])
            out[:, places] += gmf[:, :size] @ values[:, :size].T
        done = 0
        for places, values in self._items[1].groups():
            item_weight = weight[:, self._size : self._size + values.shape[1]]
            for start in range(0, len(values), _ITEMS_A_TOWER):
                item_half = values[start : start + _ITEMS_A_TOWER] @ item_weight.T
                self._add_tower(out[:, places.start + start :][:, : len(item_half)], user_half, item_half)
            done = places.stop
        if done < out.shape[1]:  # rows that have nothing in the second table
            self._add_tower(out[:, done:], user_half, np.zeros((1, len(weight)), np.float32))

    def _add_tower(self, out: FloatArray, user_half: FloatArray, item_half: FloatArray) -> None:
        for start in range(0, len(out), _USERS_A_TOWER):
            hidden = np.maximum(user_half[start : start + _USERS_A_TOWER, None] + item_half, 0)
            for weight, bias in self._tower[1:]:
                hidden = np.maximum(hidden @ weight.T + bias, 0)
            out[start : start + _USERS_A_TOWER] += hidden @ self._mlp_weight


class _VectorScorer(Scorer):
    """Scores by dot products of final vectors, which come in blocks of columns."""

    def __init__(self, num_items: int, scale: ItemScale) -> None:
        self.item_order = self.item_place = np.arange(num_items, dtype=np.int32)
        self._scale = scale
        self._factors: FloatArray | None = None
        self._has_factors = False  # until all columns have been seen once

    @abstractmethod
    def blocks(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Final vectors of users ``(c, num_users)`` and items ``(c, num_items)``, some columns at a time."""

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        norms = np.zeros(len(self.item_order), np.float32)
        for index, (of_users, of_items) in enumerate(self.blocks()):
            chosen = of_users[:, users].T
            if not index:
                np.matmul(chosen, of_items, out=out)
            for start in range(0, len(users) if index else 0, _USERS_A_PRODUCT):
                some = slice(start, start + _USERS_A_PRODUCT)
                out[some] += chosen[some] @ of_items
            if not self._has_factors:
                norms += np.einsum("ij,ij->j", of_items, of_items)
        if not self._has_factors:
            self._factors, self._has_factors = self._scale.of(norms), True
        if self._factors is not None:
            out *= self._factors


class LightGCNScorer(_VectorScorer):
    """LightGCN: columns propagate apart, so that a block of them is all that is held of final vectors.

    Args:
        table: The table.
        scale: What scores are multiplied by.
        graph: Training interactions.
        block_columns: Columns of a block; None keeps all once they are propagated.
    """

    def __init__(self, table: PackedTable, scale: ItemScale, graph: Graph, block_columns: int | None) -> None:
        super().__init__(table.num_items, scale)
        self._users, self._items = table.rows()
        self._num_layers = int(table.header["backbone"]["num_layers"])
        self._graph = graph
        self._width = max(1, self._users.width, self._items.width)
        self._block_columns = block_columns or COLUMNS
        self._kept = None if block_columns else self._propagate_all()

    def blocks(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Final vectors: see :meth:`_VectorScorer.blocks`."""
        if self._kept:
            yield self._kept
            return
        for start in range(0, self._width, self._block_columns):
            yield self._propagate(start, min(start + self._block_columns, self._width))

    def _propagate_all(self) -> tuple[FloatArray, FloatArray]:
        users, items = (np.empty((self._width, len(rows)), np.float32) for rows in (self._users, self._items))
        for start in range(0, self._width, self._block_columns):
            columns = slice(start, min(start + self._block_columns, self._width))
            users[columns], items[columns] = self._propagate(columns.start, columns.stop)
        return users, items

    def _propagate(self, start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        users, items = self._users.columns(start, stop), self._items.columns(start, stop)
        of_users, of_items = users.copy(), items.copy()
        for _ in range(self._num_layers):
            users, items = self._graph.product(users, items)
            of_users += users
            of_items += items
        factor = np.float32(1 / (self._num_layers + 1))
        of_users *= factor
        of_items *= factor
        return of_users, of_items


class NGCFScorer(_VectorScorer):
    """NGCF, whose layers mix columns: all final vectors are made once and kept, a block being a layer's."""

    def __init__(self, table: PackedTable, scale: ItemScale, graph: Graph) -> None:
        super().__init__(table.num_items, scale)
        size = int(table.header["backbone"]["max_size"])
        slope = np.float32(table.header["backbone"]["negative_slope"])
        users, items = (rows.columns(0, size) for rows in table.rows())
        self._kept = [(users, items)]
        for layer in range(int(table.header["backbone"]["num_layers"])):
            sum_weight = table.dense(f"sum_layers.{layer}.weight", size, size)
            product_weight = table.dense(f"product_layers.{layer}.weight", size, size)
            bias = table.dense(f"sum_layers.{layer}.bias", size) + table.dense(f"product_layers.{layer}.bias", size)
            nearby = graph.product(users, items)
            users, items = (
                _leaky(sum_weight @ (near + own) + product_weight @ (near * own) + bias[:, None], slope)
                for near, own in zip(nearby, (users, items), strict=True)
            )
            self._kept.append((_normalized(users), _normalized(items)))

    def blocks(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Final vectors: see :meth:`_VectorScorer.blocks`."""
        yield from self._kept


def _leaky(values: FloatArray, slope: np.float32) -> FloatArray:
    return np.where(values >= 0, values, values * slope)


def _normalized(values: FloatArray) -> FloatArray:
    norms = np.sqrt(np.einsum("ij,ij->j", values, values))
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)
