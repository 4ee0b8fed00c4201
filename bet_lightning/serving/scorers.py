"""Scores of all items for some users from a packed table, in numpy: MF and NeuMF, which have no graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.maxima import add_relu_sums, compiled
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.rows import FloatArray, Rows

_TINY = float(np.finfo(np.float32).tiny)
_ITEMS_AT_ONCE = 4096  # whose values are read at once where they are not kept
_ITEMS_A_TOWER = 1024  # items in a block of NeuMF's hidden units
_USERS_A_TOWER = 4  # users in such a block


class Scorer(ABC):
    """A scorer of items, in an order of its own.

    Attributes:
        item_order: ``(num_items,)`` int32, the item at each position of that order.
        item_place: ``(num_items,)`` int32, the position of each item in that order.
        one_thread: Whether to score one block of users at a time, because memory matters more than speed.
    """

    one_thread = False

    item_order: npt.NDArray[np.int32]
    item_place: npt.NDArray[np.int32]

    @abstractmethod
    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users.

        Args:
            users: ``(b,)`` row numbers.
            out: ``(b, num_items)`` float32, overwritten by the scores in the order of ``item_order``. Callers use it
                again for other users, because to allocate memory takes longer than to write the scores.
        """


class ItemScale:
    r"""The factors :math:`\|z_i\|^{p - 1} f_i^q` that items' scores are multiplied by after sampled softmax.

    Args:
        table: A table, whose header has the powers p and q, or None for another loss.
        popularity: ``(num_items,)`` training interactions :math:`f_i` of each item.
    """

    def __init__(self, table: PackedTable, popularity: npt.NDArray[np.integer[Any]]) -> None:
        self._powers = table.header["softmax"]
        self._popularity = np.maximum(popularity, 1).astype(np.float32)

    def of(self, squared_norms: FloatArray) -> FloatArray | None:
        """Return the factors of all items.

        Args:
            squared_norms: ``(num_items,)`` squared norms of the items' final vectors.

        Returns:
            ``(num_items,)`` float32, or None if all factors are one.
        """
        if self._powers is None:
            return None
        norms = np.maximum(np.sqrt(squared_norms), np.float32(_TINY))
        factors: FloatArray = norms ** np.float32(self._powers["norm_power"] - 1)
        factors *= self._popularity ** np.float32(self._powers["popularity_power"])
        return factors

    def of_blocks(self, blocks: Iterable[FloatArray]) -> FloatArray | None:
        """Return the factors of all items, as :meth:`of` does.

        Args:
            blocks: Columns of the items' final vectors, ``(c, num_items)`` each. Consumed only if there are factors.
        """
        if self._powers is None:
            return None
        return self.of(sum(np.einsum("ij,ij->j", block, block) for block in blocks))


class MFScorer(Scorer):
    """Matrix factorisation: one product per group of items of one size, as wide as that size.

    Items' values are views of a float32 file if no factors apply, and else copies in float32.

    Args:
        table: A packed table.
        scale: Factors that scores are multiplied by.
        keeps_items: Whether copies are made once and kept, rather than for every block of users again.
    """

    def __init__(self, table: PackedTable, scale: ItemScale, keeps_items: bool = True) -> None:
        self._users, self._items = table.rows()
        self.item_order, self.item_place = self._items.order, self._items.place
        self.one_thread = not keeps_items
        norms = np.zeros(table.num_items, np.float32)
        for places, values in self._items.groups(_ITEMS_AT_ONCE):
            norms[self.item_order[places]] = np.einsum("ij,ij->i", values, values)
        self._factors = scale.of(norms)
        self._kept = list(self._scaled(None)) if keeps_items else None

    def _scaled(self, rows_at_once: int | None) -> Iterator[tuple[slice, FloatArray]]:
        """Yield items' places and values, times their factors, ``(size, rows)``."""
        for places, values in self._items.groups(rows_at_once):
            used = values[:, : self._users.width]
            if self._factors is not None:
                used = used * self._factors[self.item_order[places], None]
            yield places, used.T

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        vectors = self._users.gather(users)
        done = 0
        for places, values in self._kept if self._kept is not None else self._scaled(_ITEMS_AT_ONCE):
            multiply = np.multiply if len(values) == 1 else np.matmul  # matmul is slow for one column
            multiply(vectors[:, : len(values)], values, out=out[:, places])
            done = places.stop
        out[:, done:] = 0


class NeuMFScorer(Scorer):
    """NeuMF (arXiv 1708.05031).

    Items' hidden units are computed again, from packed rows, for every block of users. Where they may be kept, there is
    one hidden layer and numba is installed, they are computed once and compared with the users' by a compiled kernel.

    Args:
        table: A packed table.
        keeps_items: Whether what is computed of items may be kept.
    """

    def __init__(self, table: PackedTable, keeps_items: bool = True) -> None:
        self._users, self._items = zip(table.rows(0), table.rows(1), strict=True)
        self.item_order, self.item_place = self._items[0].order, self._items[0].place
        if not np.array_equal(self._items[1].order, self.item_order):
            raise ValueError("the two tables have their rows in different orders")
        size = int(table.header["backbone"]["max_size"])
        self._size = size
        self._tower = []
        width = 2 * size
        depth = 0
        while f"dense.tower.{depth}.weight" in table.tensors:
            weight = table.dense(f"tower.{depth}.weight", -1, width)
            self._tower.append((weight, table.dense(f"tower.{depth}.bias", len(weight))))
            width = len(weight)
            depth += 1
        if not depth:
            raise ValueError("there is no tower")
        output = table.dense("output.weight", 1, size + width)[0]
        self._gmf_weight, self._mlp_weight = output[:size], output[size:]
        self._bias = table.dense("output.bias", 1)
        # hidden units in the order of the signs of their weights
        self._units = np.argsort(self._mlp_weight <= 0, kind="stable")
        self._scales = np.abs(self._mlp_weight[self._units])
        self._num_positive = int((self._mlp_weight > 0).sum())
        kernel = compiled() if keeps_items and depth == 1 else None
        self._kept = (kernel, list(self._items[0].groups(None)), self._item_halves()) if kernel is not None else None

    def _item_halves(self) -> FloatArray:
        """What the items contribute to the first hidden layer, units scaled by their weights: ``(h, num_items)``."""
        weight = self._tower[0][0][self._units, self._size :] * self._scales[:, None]
        halves = np.zeros((len(weight), len(self.item_order)), np.float32)
        for places, values in self._items[1].groups(_ITEMS_AT_ONCE):
            halves[:, places] = weight[:, : values.shape[1]] @ values.T
        return halves

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        gmf, mlp = (rows.gather(users) for rows in self._users)
        gmf = gmf * self._gmf_weight[: gmf.shape[1]]
        weight, bias = self._tower[0]
        user_half = mlp @ weight[:, : mlp.shape[1]].T + bias
        out[:] = self._bias
        for places, values in self._kept[1] if self._kept else self._items[0].groups(_ITEMS_AT_ONCE):
            size = min(values.shape[1], gmf.shape[1])
            out[:, places] += gmf[:, :size] @ values[:, :size].T
        if self._kept is not None:
            kernel, _, item_halves = self._kept
            add_relu_sums(kernel, out, user_half[:, self._units] * self._scales, item_halves, self._num_positive)
            return
        done = 0
        for places, values in self._items[1].groups(_ITEMS_AT_ONCE):
            item_weight = weight[:, self._size : self._size + values.shape[1]]
            for start in range(0, len(values), _ITEMS_A_TOWER):
                item_half = values[start : start + _ITEMS_A_TOWER] @ item_weight.T
                self._add_tower(out[:, places.start + start :][:, : len(item_half)], user_half, item_half)
            done = places.stop
        if done < out.shape[1]:  # items of size 0 in the second table
            self._add_tower(out[:, done:], user_half, np.zeros((1, len(weight)), np.float32))

    def _add_tower(self, out: FloatArray, user_half: FloatArray, item_half: FloatArray) -> None:
        """Add the tower's part of the scores.

        Args:
            out: ``(b, n)`` scores.
            user_half: ``(b, h)`` what the users contribute to the first hidden layer.
            item_half: ``(n, h)`` what the items contribute, or ``(1, h)`` if it is the same for all.
        """
        for start in range(0, len(out), _USERS_A_TOWER):
            hidden = np.maximum(user_half[start : start + _USERS_A_TOWER, None] + item_half, 0)
            for weight, bias in self._tower[1:]:
                hidden = np.maximum(hidden @ weight.T + bias, 0)
            out[start : start + _USERS_A_TOWER] += hidden @ self._mlp_weight
