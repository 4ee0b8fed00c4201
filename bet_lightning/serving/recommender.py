"""Top-k lists from a packed table, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.graph import Graph
from bet_lightning.serving.header import sound
from bet_lightning.serving.ids import UNKNOWN
from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.propagation import Propagation
from bet_lightning.serving.rows import FloatArray
from bet_lightning.serving.scorers import ItemScale, MFScorer, NeuMFScorer, Scorer
from bet_lightning.serving.topk import top_k
from bet_lightning.serving.vector_scorers import ColumnScorer, VectorScorer, kept_vectors, ngcf_vectors

Memory = Literal["vectors", "least"]
USERS = 64  # scored at once
_COLUMNS = 2  # of LightGCN's final vectors computed at once: numpy adds two floats as one complex number


class Recommendations(NamedTuple):
    """Top-k lists, best first.

    Attributes:
        ids: ``(b, k)`` raw item ids. -1 or the empty text where no item is left.
        scores: ``(b, k)`` float32. -inf where no item is left.
        known: ``(b,)`` bool, whether the user is in the table. Others get the most popular items, and as scores the
            numbers of these items' training interactions.
    """

    ids: npt.NDArray[Any]
    scores: FloatArray
    known: npt.NDArray[np.bool_]


class PackedRecommender:
    """A recommender from a packed table, in numpy alone.

    MF and NeuMF score from the rows of the table, NGCF from final vectors.

    Args:
        table: The table.
        memory: What is held beside the file: ``vectors`` in float32, LightGCN's final ones, which are as large as a
            dense table, the items' rows of MF, unless they can be read as they are, or those and the hidden units of
            NeuMF; or the ``least``, so that for every block of users LightGCN propagates again, a few columns at a
            time, some hundred times slower, and MF and NeuMF read their items again.
        users_at_once: Users scored at once, in a block. Their scores of all items are held in memory. Larger blocks
            are faster where the least is held.
        num_threads: Blocks of users ranked at once (default: as many as the process has processors); one at a time
            where the least is held. The products are too small for numpy's own threads, which mostly wait
            for each other; ``OPENBLAS_NUM_THREADS=1`` turns them off.

    Attributes:
        table: The table.
        user_ids: Raw ids of the users.
        item_ids: Raw ids of the items.

    Raises:
        ValueError: If an argument is out of range, or there is no way to score with the table's backbone.
    """

    def __init__(
        self,
        table: PackedTable,
        memory: Memory = "vectors",
        users_at_once: int = USERS,
        num_threads: int | None = None,
    ) -> None:
        _check_options(memory, users_at_once, num_threads)
        self.table = table
        self.users_at_once = users_at_once
        self.num_threads = num_threads or _num_processors()
        self.user_ids, self.item_ids = table.ids()
        edges = table.pairs("graph")
        self._seen = [pairs for pairs in (edges, table.pairs("history")) if pairs is not None]
        popularity = table.arrays.get("popularity")
        graph = Graph(edges) if edges is not None else None
        if graph is not None:
            popularity = graph.to_items.neighbours.counts
        if popularity is None:
            raise ValueError("there is neither a graph nor popularity")
        self._popularity = popularity
        self._scorer = _scorer(table, self._popularity, graph, memory)

    @classmethod
    def load(
        cls,
        path: str | Path,
        memory: Memory = "vectors",
        users_at_once: int = USERS,
        num_threads: int | None = None,
    ) -> PackedRecommender:
        """Open a packed table.

        Args:
            path: Folder of the table.
            memory: See :class:`PackedRecommender`.
            users_at_once: See :class:`PackedRecommender`.
            num_threads: See :class:`PackedRecommender`.

        Raises:
            ValueError: If it is not a sound packed table, or an argument is out of range.
        """
        _check_options(memory, users_at_once, num_threads)
        table = PackedTable.load(path)
        with sound(Path(path)):
            return cls(table, memory, users_at_once, num_threads)

    def recommend(
        self, user_ids: Sequence[Any] | npt.NDArray[Any], k: int = 20, exclude_seen: bool = True
    ) -> Recommendations:
        """Return the k best items of each user.

        Args:
            user_ids: ``(b,)`` raw ids.
            k: Length of the lists.
            exclude_seen: Leave out the items that a user is known to have interacted with.

        Raises:
            ValueError: If the ids are of another kind than the table's, ``k`` is out of range, or ``exclude_seen`` is
                set and the table was exported without the interactions.
        """
        rows = self.user_ids.find(user_ids)
        if not 1 <= k <= len(self.item_ids):
            raise ValueError(f"k must be in 1..{len(self.item_ids)} (the number of items), got {k}")
        if exclude_seen and not self.table.header["has_history"]:
            raise ValueError("exclude_seen: this table was exported without what users have seen")
        items = np.full((len(rows), k), UNKNOWN, np.int64)
        scores = np.full((len(rows), k), -np.inf, np.float32)
        known = rows != UNKNOWN
        positions = np.flatnonzero(known)
        num_threads = 1 if self._scorer.one_thread else self.num_threads

        def rank(start: int) -> None:
            """Rank every ``num_threads``-th block of users, all in the same memory."""
            buffer = self._buffer(len(positions))
            for first in range(start, len(positions), self.users_at_once * num_threads):
                block = positions[first : first + self.users_at_once]
                items[block], scores[block] = self._rank(rows[block], k, exclude_seen, buffer[: len(block)])

        starts = range(0, min(len(positions), self.users_at_once * num_threads), self.users_at_once)
        if num_threads == 1:  # without a pool, whose thread would allocate memory of its own
            rank(0)
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                list(pool.map(rank, starts))
        if not known.all():
            popular, counts = top_k(self._popularity.astype(np.float32)[None], k)
            items[~known], scores[~known] = popular, counts
        return Recommendations(self.item_ids.take(items), scores, known)

    def score(self, users: npt.NDArray[np.int64]) -> FloatArray:
        """Return the scores of all items.

        Args:
            users: ``(b,)`` row numbers of users, not their ids.

        Returns:
            ``(b, num_items)`` float32, items in the order of the ids.
        """
        scores = self._buffer(len(users), len(users))
        self._scorer.scores(users, scores)
        return scores[:, self._scorer.item_place]

    def _buffer(self, num_users: int, at_most: int | None = None) -> FloatArray:
        """Allocate the scores of ``num_users`` users, or of ``at_most`` (default: ``users_at_once``) if fewer."""
        return np.empty((min(num_users, at_most or self.users_at_once), self.table.num_items), np.float32)

    def _rank(
        self, users: npt.NDArray[np.int64], k: int, exclude_seen: bool, scores: FloatArray
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        self._scorer.scores(users, scores)
        if exclude_seen:
            for positions, seen in self._seen_by(users):
                scores[positions, self._scorer.item_place[seen]] = -np.inf
        columns, best = top_k(scores, k)
        return np.where(best == -np.inf, UNKNOWN, self._scorer.item_order[columns]), best

    def _seen_by(self, users: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        for pairs in self._seen:
            yield pairs.of(users)


def _num_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_options(memory: str, users_at_once: int, num_threads: int | None) -> None:
    if memory not in get_args(Memory):
        raise ValueError(f"memory must be one of {', '.join(get_args(Memory))}, got {memory!r}")
    for name, value in {"users_at_once": users_at_once, "num_threads": num_threads}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _scorer(
    table: PackedTable, popularity: npt.NDArray[np.integer[Any]], graph: Graph | None, memory: Memory
) -> Scorer:
    """Return the scorer of a table's backbone, or raise ValueError if there is none."""
    name = table.header["backbone"]["name"]
    scale = ItemScale(table, popularity)
    if name == "MF" or (name == "LightGCN" and not table.header["backbone"]["num_layers"]):
        return MFScorer(table, scale, keeps_items=memory == "vectors")
    if name == "NeuMF":
        return NeuMFScorer(table, keeps_items=memory == "vectors")
    if graph is not None and name == "NGCF":
        return VectorScorer(ngcf_vectors(table, graph), scale)
    if graph is not None and name == "LightGCN":
        propagation = Propagation(table, graph)
        if memory == "vectors":
            return VectorScorer([kept_vectors(propagation, _COLUMNS)], scale)
        return ColumnScorer(propagation, scale, _COLUMNS)
    raise ValueError(f"there is no way to score with the backbone {name!r}")
