"""``python -m tests.benchmarks.basis``: what turning a trained table's columns does to its scores, by backbone.

Trains a full table for some epochs, turns a copy of it as ``TableSearch`` does, and prints the largest difference of a
score over all users and items, beside the largest score.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from bet_lightning.backbones import Backbone
from bet_lightning.data import InteractionDataModule
from bet_lightning.modules import LRSchedule
from tests.benchmarks.probes import BACKBONES
from tests.benchmarks.training import Training


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
    data = InteractionDataModule(options.data, str(options.data_dir))
    data.setup("fit")
    found = {}
    for name, backbone in BACKBONES.items():
        training = Training(data, options.max_size, LRSchedule(), backbone=backbone)
        torch.manual_seed(0)  # of NGCF's dropout
        for _ in range(options.epochs):
            training.train_epoch()
        network = training.module.network
        turned = copy.deepcopy(network)
        turned.to_principal_basis()
        found[name], largest = largest_difference(network, turned)
        print(f"{name}: scores differ by {found[name]:.1e} at most, the largest is {largest:.2f}", flush=True)
    return found


if __name__ == "__main__":
    main()
