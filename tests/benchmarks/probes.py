"""``python -m tests.benchmarks.probes``: how well cheap probes rank actions, against full retraining.

Draws actions at random, retrains each from scratch, and probes each from the pre-trained table. Prints how the
validation quality of a probe after some epochs, on a share of the users, ranks the actions: Spearman's rank
correlation with the quality that the retraining reaches on all users, and the fitness lost by taking the action that
the probes rank first. The first epochs of the retraining are listed as probes from scratch.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bet_lightning.budget import Budget
from bet_lightning.data import InteractionDataModule
from bet_lightning.modules import LRSchedule
from bet_lightning.ranking import quality
from bet_lightning.search import BoundedSampler, popularity_order
from bet_lightning.search.training import spearman
from tests.benchmarks.training import Training

EPOCHS = (0, 1, 2, 4, 8)  # of a probe
SHARES = (0.1, 0.3, 1.0)  # of the validation users

History = list[dict[float, float]]


def train(training: Training, sizes: Tensor, epochs: int, start: Mapping[str, Tensor] | None) -> tuple[History, float]:
    """Qualities by share before the first and after every epoch, and the seconds of an epoch's training."""
    training.start(start, sizes)

    def qualities() -> dict[float, float]:
        shares = SHARES if training.epoch <= max(EPOCHS) else SHARES[-1:]
        return {share: quality(training.metrics(share)) for share in shares}

    history, seconds = [qualities()], 0.0
    for _ in range(epochs):
        seconds += training.train_epoch()
        history.append(qualities())
    return history, seconds / max(1, epochs)


def main(args: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Run the study and return rank correlation and lost fitness by ``start/epochs/share``."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.probes", description=__doc__)
    parser.add_argument("--data", default="lastfm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--actions", type=int, default=16, help="actions to retrain and probe")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of pretraining and retraining")
    parser.add_argument("--keep-ratio", type=float, default=0.1)
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16_384)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    data = InteractionDataModule(options.data, str(options.data_dir), batch_size=options.batch_size)
    data.setup("fit")
    split = data.dataset
    training = Training(data, options.max_size, LRSchedule(), SHARES)
    num_rows = split.num_users + split.num_items
    everyone = SHARES[-1]
    pretraining, _ = train(training, torch.full((num_rows,), options.max_size), options.epochs, None)
    pretrained = max(qualities[everyone] for qualities in pretraining)
    start = {name: value.clone() for name, value in training.module.network.state_dict().items()}
    cap = Budget(keep_ratio=options.keep_ratio).cap(num_rows, options.max_size)
    sampler = BoundedSampler(split.num_users, split.num_items, cap, options.max_size)
    drawn = sampler.sample(options.actions, torch.Generator().manual_seed(1))
    orders = [popularity_order(torch.from_numpy(f)) for f in (split.user_frequency, split.item_frequency)]
    histories: dict[str, list[History]] = {"pre-trained": [], "scratch": []}
    fitness, seconds = [], 0.0
    for index in range(options.actions):
        sizes = drawn.at(index).sizes(*orders)
        probe, epoch_seconds = train(training, sizes, max(EPOCHS), start)
        retraining, _ = train(training, sizes, options.epochs, None)
        histories["pre-trained"].append(probe)
        histories["scratch"].append(retraining)
        seconds += epoch_seconds / options.actions
        fitness.append(max(qualities[everyone] for qualities in retraining) / pretrained)
        shown = [round(qualities[everyone] / pretrained, 3) for qualities in probe]
        print(f"action {index + 1}: user share {float(drawn.user_share[index]):.2f}, ", end="")
        print(f"fitness {fitness[-1]:.3f}; probed {shown}", flush=True)
    result = {}
    print(f"{options.data}, {options.actions} actions, {seconds:.2f} s an epoch")
    for name, each in histories.items():
        for epochs in (epochs for epochs in EPOCHS if epochs < len(each[0])):
            for share in SHARES:
                begin = time.perf_counter()
                training.metrics(share)
                ranking_s = time.perf_counter() - begin
                found = [history[epochs][share] for history in each]
                chosen = max(range(len(found)), key=found.__getitem__)
                key, rho = f"{name}/{epochs}/{share}", spearman(found, fitness)
                result[key] = {
                    "rho": rho,
                    "lost": max(fitness) - fitness[chosen],
                    "seconds": epochs * seconds + ranking_s,
                }
                print(
                    f"{name}, {epochs} epochs, {share:.0%} of users: rho {rho:.2f}, "
                    f"fitness lost {result[key]['lost']:.3f}, {result[key]['seconds']:.2f} s"
                )
    if options.json:
        options.json.write_text(json.dumps({"probes": result, "fitness": fitness}, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
