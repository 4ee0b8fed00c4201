"""``python -m tests.benchmarks.round_trip --table TABLE``: what numpy alone ranks, against what torch ranks.

Ranks the test users of a packed table's data without torch's scores, averages the metrics, and compares them with those
that ``test`` found for the checkpoint before it was exported. With ``--lists``, what ``predict`` wrote as Parquet, its
lists are compared too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from bet_lightning.data import InteractionDataModule
from bet_lightning.ranking import RankingMetrics, top_k_items
from bet_lightning.serving import PackedRecommender

K = 20


def numpy_metrics(recommender: PackedRecommender, data: InteractionDataModule) -> dict[str, float]:
    """Test metrics of the scores that numpy gives."""
    metrics = RankingMetrics()
    for batch in data.test_dataloader():
        scores = torch.from_numpy(np.ascontiguousarray(recommender.score(batch.users.numpy())))
        _, items = top_k_items(scores, batch.seen_rows, batch.seen_items, K)
        metrics.update(items, batch.target_rows, batch.target_items, scores.shape[1])
    return {name: float(value) for name, value in metrics.compute().items()}


def compare_lists(recommender: PackedRecommender, path: Path) -> dict[str, float]:
    """Differences between lists that ``predict`` wrote and those that are served."""
    lists = pl.read_parquet(path).group_by("user", maintain_order=True).agg("item", "score")
    lists = lists.filter(pl.col("item").list.len() == K)
    found = recommender.recommend(lists["user"].to_numpy(), K)
    scores = np.array(lists["score"].to_list(), np.float32)
    others = (np.array(lists["item"].to_list()) != found.ids).any(axis=1)
    return {
        "users": len(lists),
        "lists_that_differ": int(others.sum()),
        "largest_score_difference": float(np.abs(scores - found.scores).max()),
        "largest_score": float(np.abs(scores).max()),
    }


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    """Compare, print and return what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.round_trip", description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="folder of a packed table")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--split", default=None)
    parser.add_argument("--valid-choice", default="random")
    parser.add_argument("--lists", type=Path, help="what predict wrote for the checkpoint, as Parquet")
    options = parser.parse_args(args)
    recommender = PackedRecommender.load(options.table)
    header = recommender.table.header
    data = InteractionDataModule(
        header["dataset"]["name"], options.data_dir, split=options.split, valid_choice=options.valid_choice
    )
    data.setup()
    if data.dataset.hash != header["dataset"]["hash"]:
        raise SystemExit(f"{options.table} is of another split: give --split and --valid-choice as in its run")
    found = numpy_metrics(recommender, data)
    for name, value in found.items():
        wanted = (header["result"]["test"] or {}).get(name)
        print(f"{name}: {value!r} by numpy, {wanted!r} by test")
    if options.lists:
        found |= compare_lists(recommender, options.lists)
        print(", ".join(f"{name} {found[name]:.8g}" for name in list(found)[-4:]))
    return found


if __name__ == "__main__":
    main()
