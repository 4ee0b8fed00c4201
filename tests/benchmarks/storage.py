"""``python -m tests.benchmarks.storage --data-dir DATA``: masked against packed tables, trained from the same start.

The popularity rule's sizes are trained with both storages, epochs in turn. Counted are the bytes of all parameters of
the module, of their gradients and of the optimiser's state after a step, and the tables' index buffers: sizes, and
where packed rows start. Steps are timed in turn on the same batches.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bet_lightning import backbones
from bet_lightning.budget import Budget
from bet_lightning.methods import PopularitySizes
from bet_lightning.methods.base import Problem
from bet_lightning.methods.tasks import Epochs, Storage, Task
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Work, paired
from tests.benchmarks.training import Training, bpr_schedule


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the values of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def held(training: Training) -> dict[str, int]:
    """Bytes by what holds them, once a step has been made."""
    parameters = list(training.network.parameters())
    states = itertools.chain.from_iterable(state.values() for state in training.optimizer.state.values())
    return {
        "parameters": count_bytes(parameters),
        "gradients": count_bytes(p.grad for p in parameters if p.grad is not None),
        "optimizer": count_bytes(value for value in states if isinstance(value, Tensor)),
        "indices": count_bytes(training.network.tables.buffers()),
    }


def step_of(training: Training, bench: Bench, size: int) -> Work:
    """A step on the next of a few batches."""
    batches = itertools.cycle(bench.batches(size, 3))

    def step() -> None:
        training.optimizer.zero_grad()
        training.recommender.loss(next(batches)).backward()
        training.optimizer.step()

    return step


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Train both; bytes, metrics by epoch and step seconds of each, and the ratios of packed to masked."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.storage", description=__doc__)
    parser.add_argument("--data", default="gowalla", help="or synthetic, of Gowalla's shape")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--backbone", default="LightGCN", choices=("LightGCN", "MF", "NGCF", "NeuMF"))
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--keep-ratio", type=float, default=0.1)
    parser.add_argument("--exponent", type=float, default=0.5, help="of popularity in the sizes; 0 makes them even")
    parser.add_argument("--batch-size", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=11, help="timed steps of each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    bench = Bench(options.data, options.data_dir, options.steps)
    bench.data.triplets.batch_size = options.batch_size
    trainings = {}
    storages: tuple[Storage, ...] = ("masked", "packed")
    for storage in storages:
        backbone, schedule = getattr(backbones, options.backbone), bpr_schedule(bench.data)
        trainings[storage] = training = Training(bench.data, options.max_size, schedule, backbone=backbone)
        budget = Budget(keep_ratio=options.keep_ratio).resolve(training.network.shape)
        problem = Problem(training.recommender, lambda _: bench.data.val_dataloader(), [budget])
        sizes = PopularitySizes(options.exponent).allocate(problem, budget)
        training.begin(Task("retrain", storage, Epochs(), budget=budget, allocation=sizes, storage=storage))
    result: dict[str, Any] = {"epochs": {storage: [] for storage in trainings}}
    for epoch in range(options.epochs):
        for storage, training in trainings.items():
            seconds, metrics = training.train_epoch(), training.metrics()
            result["epochs"][storage].append(metrics)
            shown = ", ".join(f"{name} {value:.6f}" for name, value in metrics.items())
            print(f"epoch {epoch + 1} {storage}: {seconds:.1f} s, {shown}", flush=True)
    result["equal"] = result["epochs"]["masked"] == result["epochs"]["packed"]
    if options.epochs:
        print(f"metrics are {'equal' if result['equal'] else 'not equal'} in all digits")
    works = {storage: step_of(training, bench, options.batch_size) for storage, training in trainings.items()}
    for training in trainings.values():
        training.network.train()
    result["step_s"] = {name: statistics.median(times) for name, times in paired(works, options.steps).items()}
    result["bytes"] = {storage: held(training) for storage, training in trainings.items()}
    totals = {storage: sum(parts.values()) for storage, parts in result["bytes"].items()}
    result["memory_ratio"] = totals["packed"] / totals["masked"]
    result["time_ratio"] = result["step_s"]["packed"] / result["step_s"]["masked"]
    for storage, parts in result["bytes"].items():
        shown = ", ".join(f"{name} {value:,}" for name, value in parts.items())
        print(f"{storage}: {totals[storage]:,} bytes ({shown}); a step {result['step_s'][storage] * 1e3:.1f} ms")
    print(f"packed / masked: memory {result['memory_ratio']:.4f}, step {result['time_ratio']:.3f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
