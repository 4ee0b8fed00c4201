"""``python -m tests.benchmarks.costs``: what training and ranking cost, for ``python -m bet_lightning.plan``.

For each backbone it times steps as the package trains (d=64, default loss) on synthetic graphs of growing rows and
interactions and with two batch sizes, and fits ``seconds = step + row * rows * d + interaction * E * d + triplet * b *
d`` by non-negative least squares of relative errors. Then it times full rankings, drawing triplets and candidates, and
whole epochs on data sets, which the plan is held against. It rewrites ``bet_lightning/costs.json``. Seconds are of the
processor, on one thread, and the fastest of some runs, so that they depend little on what else the machine does; the
file says how busy it was.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.data import BPRBatch, InteractionDataModule, RankingBatch
from bet_lightning.optimizers import pays_by_rows
from bet_lightning.plan import COSTS
from bet_lightning.planning import BackboneName
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.training.loop import train_epoch
from tests.benchmarks.growth import random_edges
from tests.benchmarks.sampling import binned_profile, draw_and_score

WIDTH, RANKED = 64, 512
BACKBONES: dict[BackboneName, type[Backbone]] = {"LightGCN": LightGCN, "MF": MF, "NeuMF": NeuMF, "NGCF": NGCF}
GRAPHS = ((10_000, 10), (20_000, 200), (60_000, 10), (200_000, 10))  # rows, interactions a row
BATCHES = (1024, 8192)
EPOCHS: tuple[tuple[str, BackboneName], ...] = (
    *(("lastfm", name) for name in BACKBONES),
    ("ml-1m", "LightGCN"),
    ("synthetic", "LightGCN"),
)
SYNTHETIC = {"synthetic_users": 60_000, "synthetic_items": 40_000, "synthetic_interactions": 500_000}


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Seconds that the processor spends on the fastest of some runs."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def random_batches(edges: Edges, size: int) -> Callable[[], BPRBatch]:
    """Triplets of a graph, with any items as negatives."""
    generator = torch.Generator().manual_seed(0)

    def batch() -> BPRBatch:
        chosen = torch.randint(len(edges.users), (size,), generator=generator)
        negatives = torch.randint(edges.num_items, (size,), generator=generator)
        return BPRBatch(edges.users[chosen], edges.items[chosen], negatives)

    return batch


def step_seconds(make: type[Backbone], edges: Edges, batch_size: int, rounds: int) -> float:
    """Seconds of a step as the package trains."""
    network = make(edges, WIDTH)
    recommender = Recommender(network)
    by_rows = pays_by_rows(network, batch_size)
    optimizer, _ = make_optimizer(network, recommender.schedule, lambda: 1, by_rows)
    batch = random_batches(edges, batch_size)

    def step() -> None:
        optimizer.zero_grad()
        recommender.loss(batch()).backward()
        optimizer.step()

    return seconds_of(step, rounds)


def fit(points: Sequence[dict[str, float]], propagates: bool) -> dict[str, float]:
    """The costs that explain the seconds of steps; those of rows and interactions are 0 where it looks rows up."""
    columns = {
        "step": [1.0 for _ in points],
        "triplet": [WIDTH * point["batch_size"] for point in points],
        **({"row": [WIDTH * point["rows"] for point in points]} if propagates else {}),
        **({"interaction": [WIDTH * point["interactions"] for point in points]} if propagates else {}),
    }
    seconds = np.array([point["seconds"] for point in points])
    design = np.array(list(columns.values())).T / seconds[:, None]
    scale = design.max(axis=0)
    found, _ = nnls(design / scale, np.ones(len(points)))
    return {"row": 0.0, "interaction": 0.0, **dict(zip(columns, (found / scale).tolist(), strict=True))}


def score_seconds(make: type[Backbone], edges: Edges, rounds: int) -> float:
    """Seconds to rank an item for a user, a column."""
    network = make(edges, WIDTH)
    ranker = Recommender(network).ranker
    users = torch.arange(RANKED)
    nothing = torch.empty(0, dtype=torch.int64)
    targets = torch.arange(RANKED) % edges.num_items
    batch = RankingBatch(users, nothing, nothing, users, targets)
    several = seconds_of(lambda: ranker.evaluate([batch] * 5), rounds)
    once = seconds_of(lambda: ranker.evaluate([batch]), rounds)  # final vectors, which both make, do not count
    return (several - once) / (4 * RANKED * edges.num_items * WIDTH)


def epoch_point(name: str, backbone: BackboneName, data_dir: str, rounds: int) -> dict[str, Any]:
    """Seconds of a whole training epoch."""
    data = InteractionDataModule(name=name, data_dir=data_dir, split="paper", **SYNTHETIC)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    loader = data.train_dataloader()
    recommender = Recommender(BACKBONES[backbone](edges, WIDTH))
    by_rows = pays_by_rows(recommender.network, loader.sampler.batch_size)
    optimizer, scheduler = make_optimizer(recommender.network, recommender.schedule, lambda: len(loader), by_rows)
    return {
        "data": name,
        "backbone": backbone,
        "users": train.num_rows,
        "items": train.num_cols,
        "interactions": train.nnz,
        "batch_size": loader.sampler.batch_size,
        "seconds": seconds_of(lambda: train_epoch(recommender, loader, optimizer, scheduler), rounds),
    }


def measure(data_dir: str, rounds: int, graphs: Sequence[tuple[int, int]] = GRAPHS) -> dict[str, Any]:
    """All costs and the epochs that they are held against, as ``costs.json`` holds them."""
    backbones: dict[str, dict[str, float]] = {}
    made = [(rows, random_edges(rows, rows * each)) for rows, each in graphs]
    for name, make in BACKBONES.items():
        points = [
            {
                "rows": rows,
                "interactions": len(edges.users),
                "batch_size": size,
                "seconds": step_seconds(make, edges, size, rounds),
            }
            for rows, edges in made
            for size in BATCHES
        ]
        costs = fit(points, propagates=not make.looks_rows_up)
        backbones[name] = {**costs, "score": score_seconds(make, made[-2][1], rounds)}
        print(name, {cost: f"{seconds:.3g}" for cost, seconds in backbones[name].items()}, flush=True)
    profile = binned_profile(10**6)
    data = InteractionDataModule(synthetic_users=5000, synthetic_items=5000, synthetic_interactions=500_000)
    data.setup()
    search = {
        "draw": seconds_of(lambda: sum(len(batch.users) for batch in data.train_dataloader()), rounds)
        / data.triplets.num_triplets,
        "candidate": seconds_of(lambda: draw_and_score(profile, profile, 500), rounds) / 500,
    }
    return {"backbones": backbones, "search": search}


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.costs", description=__doc__)
    parser.add_argument("--data-dir", default="data", help="folder with lastfm and ml-1m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=COSTS)
    options = parser.parse_args(args)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    busy = os.getloadavg()[0]
    try:
        found = measure(options.data_dir, options.rounds)
        points = [epoch_point(name, backbone, options.data_dir, options.rounds) for name, backbone in EPOCHS]
    finally:
        torch.set_num_threads(before)
    for point in points:
        print(point, flush=True)
    machine = {"threads": 1, "width": WIDTH, "load": busy, "torch": torch.__version__}
    found |= {"machine": machine, "points": points}
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()
