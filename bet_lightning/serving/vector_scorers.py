"""Scores of all items for some users by dot products of final vectors, in numpy: LightGCN and NGCF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bet_lightning.serving.graph import Graph
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.propagation import Propagation
from bet_lightning.serving.rows import FloatArray, Rows
from bet_lightning.serving.scorers import ItemScale, Scorer

_USERS_A_PRODUCT = 2  # few, because a product needs memory besides the scores that it is added to


class VectorScorer(Scorer):
    """A scorer with final vectors that are all held in memory.

    Args:
        blocks: Final vectors of users ``(c, num_users)`` and of items ``(c, num_items)``, some columns in each block;
            the items' are multiplied by their factors, in place.
        scale: Factors that scores are multiplied by.
    """

    def __init__(self, blocks: Sequence[tuple[FloatArray, FloatArray]], scale: ItemScale) -> None:
        self._blocks = blocks
        self.item_order = self.item_place = np.arange(blocks[0][1].shape[1], dtype=np.int32)
        factors = scale.of_blocks(of_items for _, of_items in blocks)
        if factors is not None:
            for _, of_items in blocks:
                of_items *= factors

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        for index, (of_users, of_items) in enumerate(self._blocks):
            if not index:
                np.matmul(of_users[:, users].T, of_items, out=out)
            else:
                _add_product(of_users[:, users], of_items, out)


class ColumnScorer(Scorer):
    """A scorer that computes some columns of LightGCN's final vectors at a time, again for each block of users.

    Args:
        propagation: Computes final vectors.
        scale: Factors that scores are multiplied by.
        block_columns: Columns that are computed at once.
    """

    one_thread = True  # two were measured to be only a tenth faster, with twice the memory

    def __init__(self, propagation: Propagation, scale: ItemScale, block_columns: int) -> None:
        self._propagation = propagation
        self._blocks = propagation.blocks(block_columns)
        nobody = propagation.reach(np.empty(0, np.int64))
        self.item_order = self.item_place = np.arange(propagation.num_items, dtype=np.int32)
        self._factors = scale.of_blocks(propagation.final(columns, nobody)[1] for columns in self._blocks)

    def scores(self, users: Rows, out: FloatArray) -> None:
        """Score all items for some users: see :meth:`Scorer.scores`."""
        reach = self._propagation.reach(users)
        out[:] = 0
        for columns in self._blocks:
            _add_product(*self._propagation.final(columns, reach), out)
        if self._factors is not None:
            out *= self._factors


def kept_vectors(propagation: Propagation, block_columns: int) -> tuple[FloatArray, FloatArray]:
    """Return all of LightGCN's final vectors.

    Args:
        propagation: Computes final vectors.
        block_columns: Columns that are computed at once.

    Returns:
        Vectors of users ``(d, num_users)`` and of items ``(d, num_items)``, float32.
    """
    everyone = propagation.reach()
    users, items = (
        np.empty((propagation.width, count), np.float32) for count in (propagation.num_users, propagation.num_items)
    )
    for columns in propagation.blocks(block_columns):
        users[columns], items[columns] = propagation.final(columns, everyone)
    return users, items


def ngcf_vectors(table: PackedTable, graph: Graph) -> list[tuple[FloatArray, FloatArray]]:
    """Return NGCF's final vectors (arXiv 1905.08108), one block of columns per layer.

    Layers mix columns, so all columns of a layer are computed at once.

    Args:
        table: A packed table of NGCF.
        graph: The graph of its training interactions.

    Returns:
        Vectors of users ``(c, num_users)`` and of items ``(c, num_items)`` for each layer, the table itself first.

    Raises:
        ValueError: If a weight has another shape, or there are those of other layers.
    """
    size, layers = (int(table.header["backbone"][name]) for name in ("max_size", "num_layers"))
    slope = np.float32(table.header["backbone"]["negative_slope"])
    if not np.isfinite(slope):
        raise ValueError(f"negative_slope is {slope}")
    kinds = ("sum_layers", "product_layers")
    if any(f"dense.{kind}.{layers}.weight" in table.arrays for kind in kinds):
        raise ValueError(f"there are weights of more than {layers} layers")
    weights = [[table.dense(f"{kind}.{layer}.weight", size, size) for kind in kinds] for layer in range(layers)]
    biases = [[table.dense(f"{kind}.{layer}.bias", size) for kind in kinds] for layer in range(layers)]
    users, items = (rows.columns(0, size) for rows in table.rows())
    blocks = [(users, items)]
    for (sum_weight, product_weight), (sum_bias, product_bias) in zip(weights, biases, strict=True):
        bias = sum_bias + product_bias
        nearby = graph.product(users, items)
        users, items = (
            _leaky(sum_weight @ (near + own) + product_weight @ (near * own) + bias[:, None], slope)
            for near, own in zip(nearby, (users, items), strict=True)
        )
        blocks.append((_normalized(users), _normalized(items)))
    return blocks


def _add_product(of_users: FloatArray, of_items: FloatArray, scores: FloatArray) -> None:
    """Add the dot products of users ``(c, b)`` and items ``(c, n)`` to scores ``(b, n)``."""
    for start in range(0, len(scores), _USERS_A_PRODUCT):
        some = slice(start, start + _USERS_A_PRODUCT)
        scores[some] += of_users[:, some].T @ of_items


def _leaky(values: FloatArray, slope: np.float32) -> FloatArray:
    return np.where(values >= 0, values, values * slope)


def _normalized(values: FloatArray) -> FloatArray:
    norms = np.sqrt(np.einsum("ij,ij->j", values, values))
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)
