"""``python -m tests.benchmarks.basis``: what turning a trained table's columns does to its scores, by backbone.

Trains a full table for some epochs, turns a copy of it as BET does, and prints the largest difference of a
score over all users and items, beside the largest score.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from bet_lightning.backbones import Backbone, TurnsBasis
from bet_lightning.data import InteractionDataModule
from bet_lightning.methods.tasks import Epochs, Task
from bet_lightning.objectives import BPR
from bet_lightning.recommender import Recommender
from bet_lightning.training import train_task
from tests.benchmarks.data import edges_of
from tests.benchmarks.probes import BACKBONES
from tests.benchmarks.training import bpr_schedule


@torch.no_grad()
def largest_difference(one: Backbone, other: Backbone, block: int = 256) -> tuple[float, float]:
    """The largest absolute difference of their scores and the largest absolute score of the first, all users."""
    encoded = [backbone.eval().encode() for backbone in (one, other)]
    difference = largest = 0.0
    for users in torch.arange(one.num_users).split(block):
        first, second = one.score(encoded[0], users), other.score(encoded[1], users)
        difference = max(difference, float((first - second).abs().max()))
        largest = max(largest, float(first.abs().max()))
    return difference, largest


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    """Print and return the largest difference by backbone."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.basis", description=__doc__)
    parser.add_argument("--data", default="lastfm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--max-size", type=int, default=64)
    options = parser.parse_args(args)
    data = InteractionDataModule(options.data, str(options.data_dir), batch_size=4096)
    data.setup("fit")
    task = Task("pretrain", "full", Epochs(options.epochs, eval_every_n_epochs=options.epochs), "full")
    found = {}
    for name, backbone in BACKBONES.items():
        network = backbone(edges_of(data.dataset.train), options.max_size)
        recommender = Recommender(network, BPR(), 1e-4, bpr_schedule(data))
        train_task(task, recommender, data.train_dataloader(), lambda _: data.val_dataloader())
        turned = copy.deepcopy(network)
        assert isinstance(turned, TurnsBasis)
        turned.to_principal_basis()
        found[name], largest = largest_difference(network, turned)
        print(f"{name}: scores differ by {found[name]:.1e} at most, the largest is {largest:.2f}", flush=True)
    return found


if __name__ == "__main__":
    main()
