"""``python -m tests.benchmarks.serving --table TABLE``: lists from a packed table against a dense numpy scorer.

Every contestant recommends to all users of the table in a process of its own, in turns; what it needed is its process's
largest resident memory. The dense scorer has the table with all d_max columns in float32, which for LightGCN it
propagates once with the packed one's graph; masking and top-k are the same for all, but for ``argpartition``, which is
the dense one with numpy's own.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving import PackedRecommender, PackedTable
from bet_lightning.serving import recommender as recommender_module
from bet_lightning.serving.graph import Graph
from bet_lightning.serving.rows import FloatArray
from bet_lightning.serving.scorers import COLUMNS, ItemScale, Scorer

NOTHING = "nothing"  # a process that has only started


class DenseScorer(Scorer):
    """A product of dense vectors.

    Args:
        table: What they are made from.
        popularity: ``(num_items,)`` training interactions of each item.
    """

    def __init__(self, table: PackedTable, popularity: npt.NDArray[np.int64]) -> None:
        width = table.header["backbone"]["max_size"]
        users, items = (rows.columns(0, width) for rows in table.rows())
        if table.header["backbone"]["name"] == "LightGCN":
            users, items = propagate(table, users, items)
        factors = ItemScale(table, popularity).of(np.einsum("ij,ij->j", items, items))
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
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024 / 1e6


def measure(
    contestant: str, table: Path, block_columns: int, users_at_once: int, num_threads: int, num_users: int | None
) -> dict[str, float]:
    """Recommend to users, then score them again without ranking."""
    if contestant == NOTHING:
        return {"peak_mb": peak_mb()}
    begin = time.perf_counter()
    columns = None if contestant == "kept" else block_columns
    recommender = PackedRecommender.load(table, columns, users_at_once, num_threads)
    if contestant in ("dense", "argpartition"):
        recommender._scorer = DenseScorer(recommender.table, recommender._popularity)
    if contestant == "argpartition":
        recommender_module.top_k = argpartition
    loaded = time.perf_counter()
    count = min(num_users or recommender.table.num_users, recommender.table.num_users)
    lists = recommender.recommend(recommender.user_ids.take(np.arange(count)), 20)
    done, peak = time.perf_counter(), peak_mb()

    def score(start: int) -> None:
        out = np.empty((users_at_once, recommender.table.num_items), np.float32)
        for first in range(start, count, users_at_once * num_threads):
            block = np.arange(first, min(first + users_at_once, count))
            recommender._scorer.scores(block, out[: len(block)])

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(score, range(0, min(count, users_at_once * num_threads), users_at_once)))
    found = {"load_s": loaded - begin, "users_per_s": count / (done - loaded), "peak_mb": peak}
    found["scored_per_s"] = count / (time.perf_counter() - done)
    return found | {"checksum": float(lists.scores.astype(np.float64).sum())}


def main(args: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run all contestants in turns, print and return their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="folder of a packed table of MF or LightGCN")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-columns", type=int, default=COLUMNS)
    parser.add_argument("--users-at-once", type=int, default=32)
    parser.add_argument("--num-users", type=int, help="the first so many (default: all)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.contestant:
        settings = options.block_columns, options.users_at_once, options.threads, options.num_users
        found = measure(options.contestant, options.table, *settings)
        print(json.dumps(found))
        return [found]
    header = PackedTable.load(options.table).header
    name = header["backbone"]["name"]
    contestants = ["packed", *(["kept"] if name == "LightGCN" else []), "dense", "argpartition", NOTHING]
    # threads rank blocks of users; a product that wakes further ones would only wait for them
    threads = {variable: "1" for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-m", "tests.benchmarks.serving", "--table", str(options.table)]
    command += ["--users-at-once", str(options.users_at_once), "--threads", str(options.threads)]
    command += ["--block-columns", str(options.block_columns)]
    command += ["--num-users", str(options.num_users)] if options.num_users else []
    runs: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in contestants}
    for _ in range(options.rounds):
        for contestant in contestants:
            output = subprocess.run(
                [*command, "--contestant", contestant], capture_output=True, check=True, env=os.environ | threads
            ).stdout
            runs[contestant].append(json.loads(output))
    rows = []
    share = header["budget"]["keep_ratio"]
    print(f"{name}, {share:.1%} of the table, {options.users_at_once} users at once, {options.threads} threads")
    for contestant, found in runs.items():
        medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
        rows.append({"backbone": name, "keep_ratio": share, "contestant": contestant, **medians})
        print(f"{contestant}: " + ", ".join(f"{key} {value:.6g}" for key, value in medians.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
