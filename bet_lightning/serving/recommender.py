"""Top-k lists from a packed table, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.graph import Graph
from bet_lightning.serving.ids import UNKNOWN
from bet_lightning.serving.packed_table import PackedTable, sound
from bet_lightning.serving.propagation import Propagation
from bet_lightning.serving.rows import FloatArray
from bet_lightning.serving.scorers import ItemScale, MFScorer, NeuMFScorer, Scorer
from bet_lightning.serving.topk import top_k
from bet_lightning.serving.vector_scorers import ColumnScorer, VectorScorer, kept_vectors, ngcf_vectors

USERS = 24  # scored at a time
COLUMNS = 2  # of LightGCN's final vectors at a time: numpy adds two floats as one complex number


class Recommendations(NamedTuple):
    """Top-k lists, best first.

    Attributes:
        ids: ``(b, k)`` raw item ids; -1 or the empty text where there is no item left.
        scores: ``(b, k)`` float32; -inf where there is no item left.
        known: ``(b,)`` bool, whether the user is in the table; others are given what is popular, and how popular.
    """

    ids: npt.NDArray[Any]
    scores: FloatArray
    known: npt.NDArray[np.bool_]


class PackedRecommender:
    """Recommends from a packed table with numpy alone.

    MF and NeuMF score from the packed rows. LightGCN propagates a block of columns at a time; NGCF mixes columns and so
    holds its final vectors.

    Args:
        table: The table.
        block_columns: Columns that LightGCN propagates at a time, anew for every block of users; None keeps all final
            vectors instead, which is faster and as large as a dense table.
        users_at_once: Users scored at a time: their scores of all items are held. LightGCN propagates anew for each
            such block unless it keeps all, and is the faster the larger it is.
        num_threads: Blocks of users ranked at a time, but for LightGCN's by blocks of columns, which take turns.
            Products are small: the threads of numpy's own would rather wait for each other
            (``OPENBLAS_NUM_THREADS=1`` has one).

    Raises:
        ValueError: If an argument is out of range, or there is no way to score with the table's backbone.
    """

    def __init__(
        self, table: PackedTable, block_columns: int | None = COLUMNS, users_at_once: int = USERS, num_threads: int = 1
    ) -> None:
        _check_options(block_columns, users_at_once, num_threads)
        self.table, self.users_at_once, self.num_threads = table, users_at_once, num_threads
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
        self._scorer = _scorer(table, self._popularity, graph, block_columns)

    @classmethod
    def load(
        cls, path: str | Path, block_columns: int | None = COLUMNS, users_at_once: int = USERS, num_threads: int = 1
    ) -> PackedRecommender:
        """Open a packed table: see the class's arguments.

        Raises:
            ValueError: If it is not a sound packed table, or an argument is out of range.
        """
        _check_options(block_columns, users_at_once, num_threads)
        table = PackedTable.load(path)
        with sound(Path(path)):
            return cls(table, block_columns, users_at_once, num_threads)

    def recommend(
        self, user_ids: Sequence[Any] | npt.NDArray[Any], k: int = 20, exclude_seen: bool = True
    ) -> Recommendations:
        """The k best items of each user.

        Args:
            user_ids: ``(b,)`` raw ids.
            k: Length of the lists.
            exclude_seen: Leave out what users are known to have interacted with.

        Raises:
            ValueError: If ids are of another kind than the table's, ``k`` is out of range, or the table was exported
                without what users have seen.
        """
        rows = self.user_ids.find(user_ids)
        if not 1 <= k <= len(self.item_ids):
            raise ValueError(f"k must be in 1..{len(self.item_ids)} (the number of items), got {k}")
        if exclude_seen and not self.table.header["has_history"]:
            raise ValueError("exclude_seen: this table was exported without what users have seen")
        items = np.full((len(rows), k), UNKNOWN, np.int64)
        scores = np.full((len(rows), k), -np.inf, np.float32)
        known = rows != UNKNOWN
        places = np.flatnonzero(known)
        num_threads = 1 if self._scorer.one_thread else self.num_threads

        def rank(start: int) -> None:
            """Rank every so many blocks of users, in the same memory."""
            buffer = self._buffer(len(places))
            for first in range(start, len(places), self.users_at_once * num_threads):
                block = places[first : first + self.users_at_once]
                items[block], scores[block] = self._rank(rows[block], k, exclude_seen, buffer[: len(block)])

        starts = range(0, min(len(places), self.users_at_once * num_threads), self.users_at_once)
        if num_threads == 1:  # another thread would have memory of its own
            rank(0)
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                list(pool.map(rank, starts))
        if not known.all():
            popular, counts = top_k(self._popularity.astype(np.float32)[None], k)
            items[~known], scores[~known] = popular, counts
        return Recommendations(self.item_ids.take(items), scores, known)

    def score(self, users: npt.NDArray[np.int64]) -> FloatArray:
        """Scores of all items.

        Args:
            users: ``(b,)`` rows of users, not ids.

        Returns:
            ``(b, num_items)`` float32, items in the order of the ids.
        """
        scores = self._buffer(len(users), len(users))
        self._scorer.scores(users, scores)
        return scores[:, self._scorer.item_place]

    def _buffer(self, num_users: int, at_most: int | None = None) -> FloatArray:
        """Room for the scores of a block of users."""
        return np.empty((min(num_users, at_most or self.users_at_once), self.table.num_items), np.float32)

    def _rank(
        self, users: npt.NDArray[np.int64], k: int, exclude_seen: bool, scores: FloatArray
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        self._scorer.scores(users, scores)
        if exclude_seen:
            for positions, seen in self._seen_by(users):
                scores[positions, self._scorer.item_place[seen]] = -np.inf
        places, best = top_k(scores, k)
        return np.where(best == -np.inf, UNKNOWN, self._scorer.item_order[places]), best

    def _seen_by(self, users: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        for pairs in self._seen:
            yield pairs.of(users)


def _check_options(block_columns: int | None, users_at_once: int, num_threads: int) -> None:
    options = {"block_columns": block_columns, "users_at_once": users_at_once, "num_threads": num_threads}
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _scorer(
    table: PackedTable,
    popularity: npt.NDArray[np.integer[Any]],
    graph: Graph | None,
    block_columns: int | None,
) -> Scorer:
    """The scorer of a table's backbone."""
    name, scale = table.header["backbone"]["name"], ItemScale(table, popularity)
    if name == "MF":
        return MFScorer(table, scale)
    if name == "NeuMF":
        return NeuMFScorer(table)
    if graph is not None and name == "NGCF":
        return VectorScorer(ngcf_vectors(table, graph), scale)
    if graph is not None and name == "LightGCN":
        propagation = Propagation(table, graph)
        if block_columns is None:
            return VectorScorer([kept_vectors(propagation, COLUMNS)], scale)
        return ColumnScorer(propagation, scale, block_columns)
    raise ValueError(f"there is no way to score with the backbone {name!r}")
