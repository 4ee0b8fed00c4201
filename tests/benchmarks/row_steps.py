"""``python -m tests.benchmarks.row_steps``: what a step of MF costs as its table grows, by rows and by whole tables.

Times steps (d=64, batch 8,192 by default) on tables of 1e5, 1e6 and 1e7 rows, and of 1e8 packed to a twentieth of their
values. Rows are drawn evenly, the worst case for a cache. Steps over whole tables are measured where their gradient and
state fit beside the others'. Linux gives large pages to torch where ``THP_MEM_ALLOC_ENABLE=1`` is set.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bet_lightning.backbones import MF, Edges
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import PackedEmbedding
from tests.benchmarks.measure import peak_memory_mb

WIDTH, BATCH, WARM_UP = 64, 8192, 5
LARGEST_DENSE = 2_000_000  # rows: beyond, gradient and state of the whole table are left out
KEPT = 0.05  # of the values of a table that is packed


def make_network(num_rows: int, packed: bool) -> MF:
    """MF on so many rows; a packed table is never there as a whole."""
    users = num_rows // 2
    edges = Edges(torch.arange(1), torch.arange(1), users, num_rows - users)
    if not packed:
        return MF(edges, WIDTH)
    network = MF(edges, 1)
    network.max_size = WIDTH
    mean = round(2 * KEPT * WIDTH)
    sizes = torch.randint(mean + 1, (num_rows,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    table = PackedEmbedding(sizes, WIDTH)
    with torch.no_grad():
        table.values.normal_(0, 0.1)
    network.use_tables([table])
    return network


def batches(network: MF) -> Iterator[BPRBatch]:
    """Triplets of any rows, the same every time."""
    generator = torch.Generator().manual_seed(1)
    while True:
        users, *items = (
            torch.randint(high, (BATCH,), generator=generator)
            for high in (network.num_users, network.num_items, network.num_items)
        )
        yield BPRBatch(users, *items)


def seconds_a_step(num_rows: int, packed: bool, by_rows: bool, rounds: int, state_dir: Path | None = None) -> float:
    """Median seconds of a step."""
    network = make_network(num_rows, packed)
    recommender = Recommender(network, BPR(), 1e-4)
    optimizer, _ = make_optimizer(network, LRSchedule(0.01), lambda: 1, by_rows, state_dir)
    found = []
    for _, batch in zip(range(WARM_UP + rounds), batches(network), strict=False):
        begin = time.perf_counter()
        optimizer.zero_grad()
        recommender.loss(batch).backward()
        optimizer.step()
        found.append(time.perf_counter() - begin)
    return statistics.median(found[WARM_UP:])


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print every table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.row_steps", description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6, 1e7], help="rows of full tables")
    parser.add_argument("--packed-rows", type=float, nargs="*", default=[1e8], help="rows of packed tables")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--state-dir", type=Path, help="where steps by rows map Adam's means from")
    options = parser.parse_args(args)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        for packed, counts in ((False, options.rows), (True, options.packed_rows)):
            for num_rows in map(int, counts):
                for by_rows in (True, False):
                    if not by_rows and (packed or num_rows > LARGEST_DENSE):
                        continue
                    found: list[float] = []
                    peak = peak_memory_mb(
                        lambda: found.append(  # noqa: B023
                            seconds_a_step(num_rows, packed, by_rows, options.rounds, options.state_dir)  # noqa: B023
                        )
                    )
                    kind = f"{'packed' if packed else 'full'}, {'by rows' if by_rows else 'whole tables'}"
                    print(f"{num_rows:,} rows, {kind}: {found[0] * 1e3:.1f} ms a step, {peak:,.0f} MB", flush=True)
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    main()
