"""``python -m tests.benchmarks.growth``: what a LightGCN step costs a row and an interaction, on synthetic graphs.

Times a step (d=64, three layers, batch 2,048) on graphs of growing numbers of rows and interactions, item popularity
falling as a power, and fits ``seconds = a + b * rows + c * interactions`` by least squares of relative errors. Graphs
whose step would need more than ``--max-gb`` are left out.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bet_lightning.backbones import Edges, LightGCN
from bet_lightning.data import BPRBatch
from tests.benchmarks import rivals
from tests.benchmarks.measure import peak_memory_mb

WIDTH, BATCH = 64, 2048
GRAPHS = (  # rows, interactions a row
    *((20_000, 10), (20_000, 50), (100_000, 10), (100_000, 50)),
    *((500_000, 10), (500_000, 40), (2_000_000, 10), (2_000_000, 50)),
)
BYTES_A_ROW, BYTES_AN_INTERACTION = 4 * WIDTH * 8, 120  # table, gradient, Adam and products; sorting of the edges


def random_edges(num_rows: int, num_interactions: int) -> Edges:
    """About so many unique interactions of equally many users and items, with few popular items."""
    generator = torch.Generator().manual_seed(0)
    num_users = num_rows // 2
    num_items = num_rows - num_users
    users = torch.randint(num_users, (num_interactions,), generator=generator)
    items = (torch.rand(num_interactions, generator=generator).square() * num_items).long().clamp(max=num_items - 1)
    keys = torch.unique(users * num_items + items)
    return Edges(keys // num_items, keys % num_items, num_users, num_items)


def measure(num_rows: int, num_interactions: int, rounds: int) -> dict[str, float]:
    """Rows, interactions, median seconds of a step and peak memory of building and stepping."""
    found: dict[str, float] = {}

    def work() -> None:
        edges = random_edges(num_rows, num_interactions)
        step = rivals.our_step(LightGCN(edges, WIDTH), BATCH)
        seconds = []
        for turn in range(rounds + 1):
            chosen = torch.randint(len(edges.users), (BATCH,), generator=torch.Generator().manual_seed(turn))
            negatives = torch.randint(edges.num_items, (BATCH,), generator=torch.Generator().manual_seed(turn))
            batch = BPRBatch(edges.users[chosen], edges.items[chosen], negatives)
            begin = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - begin)
        found.update(
            rows=num_rows, interactions=len(edges.users), seconds=statistics.median(seconds[1:])
        )  # the first step makes Adam's state

    peak = peak_memory_mb(work)
    return {**found, "peak_memory_mb": peak}


def fit(points: Sequence[dict[str, float]]) -> tuple[float, float, float]:
    """Seconds a step, a row and an interaction that explain the measured seconds."""
    design = np.array([[1.0, p["rows"], p["interactions"]] for p in points])
    seconds = np.array([p["seconds"] for p in points])
    constant, a_row, an_interaction = np.linalg.lstsq(design / seconds[:, None], np.ones(len(points)), rcond=None)[0]
    return float(constant), float(a_row), float(an_interaction)


def main(args: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Measure and print every graph and the fitted costs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--max-gb", type=float, default=20.0, help="memory that a graph may need")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    points = []
    try:
        for num_rows, per_row in GRAPHS:
            if num_rows * (BYTES_A_ROW + per_row * BYTES_AN_INTERACTION) > options.max_gb * 1e9:
                continue
            points.append(measure(num_rows, num_rows * per_row, options.rounds))
            shown = points[-1]
            print(
                f"{num_rows:,} rows, {shown['interactions']:,.0f} interactions: "
                f"{shown['seconds'] * 1e3:,.1f} ms a step, {shown['peak_memory_mb']:,.0f} MB",
                flush=True,
            )
    finally:
        torch.set_num_threads(before)
    constant, a_row, an_interaction = fit(points)
    print(f"a step: {constant * 1e3:.2f} ms, {a_row * 1e9:.1f} ns a row, {an_interaction * 1e9:.1f} ns an interaction")
    if options.json:
        fitted = {"a_step_s": constant, "a_row_s": a_row, "an_interaction_s": an_interaction}
        options.json.write_text(json.dumps({"points": points, "fit": fitted}, indent=2) + "\n")
    return points


if __name__ == "__main__":
    main()
