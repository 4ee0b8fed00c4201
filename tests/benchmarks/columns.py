"""``python -m tests.benchmarks.columns``: LightGCN trained by ranks that share its columns out, against one rank.

Every rank has one thread. Without Lightning: steps, losses and what a rank holds are those of the strategy ``columns``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bet_lightning.backbones import LightGCN
from bet_lightning.data import InteractionDataModule
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.tables.column_shard import ColumnShard
from bet_lightning.training.loop import epoch_seed
from tests.benchmarks.data import edges_of


class Found(NamedTuple):
    """What a number of ranks led to.

    Attributes:
        seconds: Median seconds of a step.
        losses: Loss of every step.
        held: Bytes of table, gradient and optimiser on a rank.
        metrics: Test metrics after the epoch.
    """

    seconds: float
    losses: list[float]
    held: int
    metrics: dict[str, float]


def train(rank: int, ranks: int, options: argparse.Namespace, folder: Path) -> None:
    """Train an epoch on one rank; the first one writes what came of it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / f'store{ranks}'}", rank=rank, world_size=ranks)
    data = InteractionDataModule(options.data, str(options.data_dir), split=options.split, batch_size=options.batch)
    data.prepare_data()
    data.setup("fit")
    network = LightGCN(edges_of(data.dataset.train), options.max_size)
    network.reset_parameters(torch.Generator().manual_seed(0))
    if ranks > 1:
        network.use_tables([ColumnShard(network.masked_table())])
    recommender = Recommender(network)
    loader = data.train_dataloader()
    optimizer, scheduler = make_optimizer(network, recommender.schedule, lambda: len(loader))
    loader.sampler.set_epoch(epoch_seed(0, 0))
    losses, seconds = [], []
    for _, batch in zip(range(options.steps or len(loader)), loader, strict=False):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = recommender.loss(batch)
        loss.backward()
        optimizer.step()
        scheduler.step()
        seconds.append(time.perf_counter() - begin)
        losses.append(float(loss.detach()))
    values = network.prefix_table().parameter
    held = values.nbytes + (0 if values.grad is None else values.grad.nbytes)
    held += sum(kept.nbytes for kept in optimizer.state[values].values())
    metrics = recommender.evaluate(data.test_dataloader())
    if rank == 0:
        torch.save(Found(statistics.median(seconds), losses, held, metrics)._asdict(), folder / f"{ranks}.pt")
    dist.destroy_process_group()


def main(args: Sequence[str] | None = None) -> tuple[Found, Found]:
    """Measure and print; return what one rank and what several led to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.columns", description=__doc__)
    parser.add_argument("--data", default="gowalla")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--split", default=None)
    parser.add_argument("--max-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, help="default: an epoch")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for ranks in (1, options.ranks):
            mp.spawn(train, (ranks, options, folder), nprocs=ranks)  # type: ignore[attr-defined, no-untyped-call]
        one, several = (Found(**torch.load(folder / f"{ranks}.pt")) for ranks in (1, options.ranks))
    for ranks, found in ((1, one), (options.ranks, several)):
        test = " / ".join(f"{found.metrics[name]:.4f}" for name in ("recall@20", "ndcg@20"))
        held = found.held / 1e6
        print(f"{ranks} rank(s): {1000 * found.seconds:.1f} ms a step, {held:.1f} MB a rank, test {test}")
    apart = max(abs(a - b) / abs(a) for a, b in zip(one.losses, several.losses, strict=True))
    print(f"{one.seconds / several.seconds:.2f} times as fast, {several.held / one.held:.2f} of what a rank holds,")
    print(f"losses of {len(one.losses)} steps at most {apart:.1e} apart, relative")
    return one, several


if __name__ == "__main__":
    main()
