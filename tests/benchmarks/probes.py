"""``python -m tests.benchmarks.probes``: how well cheap probes rank actions, against full retraining.

Pretrains a table and turns its columns as ``TableSearch`` does, draws actions at random, probes each from that table
and retrains it, from that table and, unless only that is asked for, from scratch. Prints how the validation quality of
a probe after some epochs, on a share of the users, ranks the actions: Spearman's rank correlation with the quality that
either retraining reaches on all users, and the fitness lost by taking the action that the probes rank first.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bet_lightning import backbones
from bet_lightning.budget import Budget
from bet_lightning.data import InteractionDataModule
from bet_lightning.modules import LRSchedule, SampledSoftmax
from bet_lightning.ranking import quality
from bet_lightning.search import BoundedSampler, SpectralSampler, Spectrum, popularity_order
from bet_lightning.search.training import spearman
from tests.benchmarks.training import Training

EPOCHS = (0, 1, 2, 4)  # of a probe
SHARES = (0.1, 0.3, 1.0)  # of the validation users
EVERYONE = SHARES[-1]
BACKBONES = {"LightGCN": backbones.LightGCN, "MF": backbones.MF, "NGCF": backbones.NGCF, "NeuMF": backbones.NeuMF}


def train(
    training: Training,
    sizes: Tensor,
    epochs: int,
    start: Mapping[str, Tensor] | None,
    shares: Mapping[int, Sequence[float]],
    refit_steps: int = 0,
) -> dict[tuple[int, float], float]:
    """Qualities by epoch and share, where asked for by epoch."""
    training.start(start, sizes, refit_steps)
    found = {}
    for epoch in range(epochs + 1):
        if epoch:
            training.train_epoch()
        for share in shares.get(epoch, ()):
            found[epoch, share] = quality(training.metrics(share))
    return found


def main(args: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Run the study and return rank correlations and lost fitness by ``epochs/share``."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.probes", description=__doc__)
    parser.add_argument("--data", default="lastfm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--backbone", choices=BACKBONES, default="LightGCN")
    parser.add_argument("--family", choices=("paper", "spectral"), default="paper")
    parser.add_argument("--actions", type=int, default=16, help="actions to retrain and probe")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of pretraining and of retraining from scratch")
    parser.add_argument("--warm-epochs", type=int, default=8, help="epochs of retraining from the pre-trained table")
    parser.add_argument("--warm-only", action="store_true", help="do not retrain from scratch")
    parser.add_argument("--softmax", action="store_true", help="train by a sampled softmax instead of BPR")
    parser.add_argument("--lr", type=float, default=LRSchedule.lr, help="first learning rate, of BPR")
    parser.add_argument("--l2", type=float, default=1e-4, help="weight of the regulariser")
    parser.add_argument("--min-size", type=int, default=1, help="smallest size of a row")
    parser.add_argument("--refit-power", type=float, default=0.0, help="of popularity, by which errors count")
    parser.add_argument("--refit-steps", type=int, default=0, help="before probes and warm retraining")
    parser.add_argument("--keep-ratio", type=float, default=0.1)
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16_384)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    data = InteractionDataModule(options.data, str(options.data_dir), batch_size=options.batch_size)
    data.setup("fit")
    split = data.dataset
    softmax, fresh, warm_schedule = None, LRSchedule(options.lr), LRSchedule(options.lr)
    if options.softmax:  # the learning rates of the spectral configs
        softmax, steps = SampledSoftmax(), len(data.train_dataloader())
        fresh, warm_schedule = LRSchedule(0.02, 0.92, steps, 0.001), LRSchedule(0.01, 0.75, steps, 0.0005)
    backbone = BACKBONES[options.backbone]
    training = Training(data, options.max_size, fresh, SHARES, backbone, softmax, options.l2)
    network = training.module.network
    every_other = {epoch: (EVERYONE,) for epoch in range(options.epochs, 0, -2)}
    full = torch.full((network.num_rows,), network.row_width)
    pretrained = max(train(training, full, options.epochs, None, every_other).values())
    network.to_principal_basis()
    if network.refit_powers:
        network.refit_power.fill_(options.refit_power)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    cap = Budget(keep_ratio=options.keep_ratio).cap(network.num_rows, network.row_width, min_size=options.min_size)
    frequencies = [torch.from_numpy(f) for f in (split.user_frequency, split.item_frequency)]
    sampler: BoundedSampler | SpectralSampler
    if options.family == "paper":
        sampler = BoundedSampler(split.num_users, split.num_items, cap, network.row_width, options.min_size)
    else:
        gains = network.gains(cap, options.min_size, options.refit_steps)
        sampler = SpectralSampler(Spectrum(gains, torch.cat(frequencies), split.num_users), cap, options.min_size)
    drawn = sampler.sample(options.actions, torch.Generator().manual_seed(1))
    orders = [popularity_order(frequency) for frequency in frequencies]
    probes, began = [], time.perf_counter()
    fitness: dict[str, list[float]] = {kind: [] for kind in (("warm",) if options.warm_only else ("scratch", "warm"))}
    warm_shares = {epoch: (EVERYONE,) for epoch in range(options.warm_epochs + 1)} | dict.fromkeys(EPOCHS, SHARES)
    for index in range(options.actions):
        action = drawn.at(index)
        sizes = action.sizes(*orders)
        training.schedule = warm_schedule
        probe = train(training, sizes, max(options.warm_epochs, *EPOCHS), start, warm_shares, options.refit_steps)
        probes.append(probe)
        fitness["warm"].append(max(value for (_, share), value in probe.items() if share == EVERYONE) / pretrained)
        if not options.warm_only:
            training.schedule = fresh
            fitness["scratch"].append(
                max(train(training, sizes, options.epochs, None, every_other).values()) / pretrained
            )
        shown = [round(probe[epoch, EVERYONE] / pretrained, 3) for epoch in EPOCHS]
        print(f"action {index + 1}: user share {action.user_share:.2f}, probed {shown}, ", end="")
        print(", ".join(f"{kind} {values[-1]:.3f}" for kind, values in fitness.items()), flush=True)
    result = {}
    print(f"{options.data}, {options.backbone}, {options.family}: {options.actions} actions ", end="")
    print(f"in {time.perf_counter() - began:.0f} s")
    for epochs in EPOCHS:
        for share in SHARES:
            found = [probe[epochs, share] for probe in probes]
            chosen = int(np.argmax(found))
            row = result[f"{epochs}/{share}"] = {}
            for kind, reached in fitness.items():
                row |= {f"rho_{kind}": spearman(found, reached), f"lost_{kind}": max(reached) - reached[chosen]}
            values = ", ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"{epochs} epochs, {share:.0%} of users: {values}")
    if options.json:
        plain = [{f"{epoch}/{share}": value for (epoch, share), value in probe.items()} for probe in probes]
        options.json.write_text(json.dumps({"ranks": result, "fitness": fitness, "probes": plain}, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
