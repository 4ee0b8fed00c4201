"""One contestant of ``tests.benchmarks.serving``, a process of its own that imports nothing that it does not need."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving import PackedRecommender, PackedTable
from bet_lightning.serving import recommender as recommender_module
from bet_lightning.serving.graph import Graph
from bet_lightning.serving.recommender import Memory
from bet_lightning.serving.rows import FloatArray
from bet_lightning.serving.scorers import ItemScale, Scorer

NOTHING = "nothing"  # a process that has only started
USERS_A_CALL = 1024  # whose lists are held
MOST_SCORED = 4096


class DenseScorer(Scorer):
    """A product of dense vectors.

    Args:
        table: What they are made from.
        popularity: ``(num_items,)`` training interactions of each item.
    """

    def __init__(self, table: PackedTable, popularity: npt.NDArray[np.integer[Any]]) -> None:
        width = table.header["backbone"]["max_size"]
        users, items = (rows.columns(0, width) for rows in table.rows())
        if table.header["backbone"]["name"] == "LightGCN":
            users, items = propagate(table, users, items)
        factors = ItemScale(table, popularity).of_blocks([items])
        self.items = np.ascontiguousarray(items if factors is None else items * factors)
        self.users = np.ascontiguousarray(users.T)
        self.item_order = self.item_place = np.arange(table.num_items, dtype=np.int32)

    def scores(self, users: npt.NDArray[np.int64], out: FloatArray) -> None:
        """Score all items for some users."""
        np.matmul(self.users[users], self.items, out=out)


def propagate(table: PackedTable, users: FloatArray, items: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean of the layers, all columns at once."""
    pairs, layers = table.pairs("graph"), table.header["backbone"]["num_layers"]
    assert pairs is not None
    graph, of_users, of_items = Graph(pairs), users.copy(), items.copy()
    for _ in range(layers):
        users, items = graph.product(users, items)
        of_users += users
        of_items += items
    return of_users / np.float32(layers + 1), of_items / np.float32(layers + 1)


def argpartition(scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k best columns of each row with numpy's own means."""
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def peak_mb() -> float:
    """Largest resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def measure(contestant: str, table: Path, users_at_once: int, num_threads: int, num_users: int) -> dict[str, float]:
    """Recommend to the first users, then score some of them again without ranking."""
    if contestant == NOTHING:
        return {"peak_mb": peak_mb()}
    begin = time.perf_counter()
    memory: Memory = "least" if contestant == "least" else "vectors"
    recommender = PackedRecommender.load(table, memory, users_at_once, num_threads)
    if contestant in ("dense", "argpartition"):
        del recommender._scorer  # so that nobody pays for both
        recommender._scorer = DenseScorer(recommender.table, recommender._popularity)
    if contestant == "argpartition":
        recommender_module.top_k = argpartition
    loaded = time.perf_counter()
    count, checksum = min(num_users, recommender.table.num_users), 0.0
    for first in range(0, count, USERS_A_CALL):
        users = recommender.user_ids.take(np.arange(first, min(first + USERS_A_CALL, count)))
        checksum += float(recommender.recommend(users, 20).scores.sum(dtype=np.float64))
    done, peak = time.perf_counter(), peak_mb()
    scored = min(count, MOST_SCORED)
    num_threads = 1 if recommender._scorer.one_thread else num_threads

    def score(start: int) -> None:
        out = np.empty((users_at_once, recommender.table.num_items), np.float32)
        for first in range(start, scored, users_at_once * num_threads):
            block = np.arange(first, min(first + users_at_once, scored))
            recommender._scorer.scores(block, out[: len(block)])

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(score, range(0, min(scored, users_at_once * num_threads), users_at_once)))
    return {
        "load_s": loaded - begin,
        "users_per_s": count / (done - loaded),
        "peak_mb": peak,
        "scored_per_s": scored / (time.perf_counter() - done),
        "checksum": checksum,
    }


if __name__ == "__main__":
    name, folder, *numbers = sys.argv[1:]
    print(json.dumps(measure(name, Path(folder), *map(int, numbers))))
