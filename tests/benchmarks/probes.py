"""``python -m tests.benchmarks.probes``: how well cheap probes rank actions, against full retraining.

Pretrains a table and turns its columns as BET does, draws actions at random, probes each from that table
and retrains it, from that table and, unless only that is asked for, from scratch. Prints how the validation quality of
a probe after some epochs, on a share of the users, ranks the actions: Spearman's rank correlation with the quality that
either retraining reaches on all users, and the fitness lost by taking the action that the probes rank first.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bet_lightning import backbones
from bet_lightning.allocation import Allocation
from bet_lightning.backbones import KnowsEnergy, Recipe, Refit, TurnsBasis
from bet_lightning.budget import Budget
from bet_lightning.data import InteractionDataModule
from bet_lightning.methods.bet.families import BoundedSampler, SpectralSampler, Spectrum
from bet_lightning.methods.bet.fitting import spearman
from bet_lightning.methods.bet.profile import popularity_order
from bet_lightning.methods.tasks import Epochs, Task
from bet_lightning.objectives import BPR, SampledSoftmax
from bet_lightning.ranking import quality
from tests.benchmarks.training import FULL, Training, bpr_schedule

EPOCHS = (0, 1, 2, 4)  # of a probe
SHARES = (0.1, 0.3, 1.0)  # of the validation users
EVERYONE = SHARES[-1]
BACKBONES = {"LightGCN": backbones.LightGCN, "MF": backbones.MF, "NGCF": backbones.NGCF, "NeuMF": backbones.NeuMF}


def train(
    training: Training, task: Task, epochs: int, shares: Mapping[int, Sequence[float]]
) -> dict[tuple[int, float], float]:
    """Qualities by epoch and share, where asked for by epoch."""
    training.begin(task)
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
    parser.add_argument("--lr", type=float, default=0.03, help="first learning rate, of BPR")
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
    fresh = warm_schedule = bpr_schedule(data, options.lr)
    if options.softmax:
        fresh, warm_schedule = Recipe.schedule, Recipe.warm_schedule
    backbone, objective = BACKBONES[options.backbone], SampledSoftmax() if options.softmax else BPR()
    training = Training(data, options.max_size, fresh, SHARES, backbone, objective, options.l2)
    network = training.network
    every_other = {epoch: (EVERYONE,) for epoch in range(options.epochs, 0, -2)}
    pretrained = max(train(training, FULL, options.epochs, every_other).values())
    assert isinstance(network, TurnsBasis)
    network.to_principal_basis()
    refit = Refit(options.refit_steps, options.refit_power)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    cap = Budget(keep_ratio=options.keep_ratio).cap(network.shape, options.min_size)
    frequencies = [torch.from_numpy(f) for f in (split.user_frequency, split.item_frequency)]
    sampler: BoundedSampler | SpectralSampler
    if options.family == "paper":
        sampler = BoundedSampler(split.num_users, split.num_items, cap, network.row_width, options.min_size)
    else:
        assert isinstance(network, KnowsEnergy)
        gains = network.gains(cap, options.min_size, refit)
        sampler = SpectralSampler(Spectrum(gains, torch.cat(frequencies), split.num_users), cap, options.min_size)
    drawn = sampler.sample(options.actions, torch.Generator().manual_seed(1))
    orders = [popularity_order(frequency) for frequency in frequencies]
    probes, began = [], time.perf_counter()
    fitness: dict[str, list[float]] = {kind: [] for kind in (("warm",) if options.warm_only else ("scratch", "warm"))}
    warm_shares = {epoch: (EVERYONE,) for epoch in range(options.warm_epochs + 1)} | dict.fromkeys(EPOCHS, SHARES)
    for index in range(options.actions):
        action = drawn.at(index)
        from_scratch = Task("retrain", "fresh", Epochs(), allocation=Allocation(action.sizes(*orders)))
        warm = replace(from_scratch, weights=start, refit=refit, schedule=warm_schedule)
        probe = train(training, warm, max(options.warm_epochs, *EPOCHS), warm_shares)
        probes.append(probe)
        fitness["warm"].append(max(value for (_, share), value in probe.items() if share == EVERYONE) / pretrained)
        if not options.warm_only:
            reached = max(train(training, from_scratch, options.epochs, every_other).values())
            fitness["scratch"].append(reached / pretrained)
        shown = [round(probe[epoch, EVERYONE] / pretrained, 3) for epoch in EPOCHS]
        print(f"action {index + 1}: user share {action.draw.user_share:.2f}, probed {shown}, ", end="")
        print(", ".join(f"{kind} {values[-1]:.3f}" for kind, values in fitness.items()), flush=True)
    result = {}
    print(f"{options.data}, {options.backbone}, {options.family}: {options.actions} actions ", end="")
    print(f"in {time.perf_counter() - began:.0f} s")
    for epochs in EPOCHS:
        for share in SHARES:
            found = [probe[epochs, share] for probe in probes]
            chosen = int(np.argmax(found))
            row = result[f"{epochs}/{share}"] = {}
            for kind, reached_by_all in fitness.items():
                lost = max(reached_by_all) - reached_by_all[chosen]
                row |= {f"rho_{kind}": spearman(found, reached_by_all), f"lost_{kind}": lost}
            values = ", ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"{epochs} epochs, {share:.0%} of users: {values}")
    if options.json:
        plain = [{f"{epoch}/{share}": value for (epoch, share), value in probe.items()} for probe in probes]
        options.json.write_text(json.dumps({"ranks": result, "fitness": fitness, "probes": plain}, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
