"""``python -m tests.benchmarks.probes``: how well cheap probes rank actions, against full retraining.

Draws actions at random, retrains each from scratch, and probes each from the pre-trained table. Prints Spearman's
rank correlation between a probe's validation quality after some epochs, on a share of the users, and the quality
that the retraining reaches on all of them.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bet_lightning.backbones import LightGCN
from bet_lightning.budget import Budget
from bet_lightning.data import InteractionDataModule, RankingLoader
from bet_lightning.modules import LRSchedule, RecommenderModule
from bet_lightning.ranking import quality
from bet_lightning.search import BoundedSampler, popularity_order
from bet_lightning.search.training import spearman

EPOCHS = (0, 1, 2, 4, 8)  # of a probe
SHARES = (0.1, 0.3, 1.0)  # of the validation users


class Trainer:
    """Trains one backbone with any sizes on one data set, and tells its validation quality."""

    def __init__(self, data: InteractionDataModule, max_size: int, schedule: LRSchedule) -> None:
        self.data, self.schedule = data, schedule
        self.module = RecommenderModule(lambda edges: LightGCN(edges, max_size))
        self.module.build(data.dataset.train)
        valid = data.dataset.valid
        users = np.random.default_rng(0).permutation(np.flatnonzero(valid.degrees()))
        self.loaders = {
            share: RankingLoader(users[: max(1, int(share * len(users)))], data.dataset.train, valid, 1024)
            for share in SHARES
        }

    def qualities(self, shares: Sequence[float] = SHARES) -> dict[float, float]:
        """Mean recall and ndcg on shares of the validation users."""
        found = {}
        self.module.eval()
        for share in shares:
            self.module.on_validation_epoch_start()
            for batch in self.loaders[share]:
                self.module.validation_step(batch, 0)
            found[share] = quality({name: float(value) for name, value in self.module.metrics.compute().items()})
        self.module.train()
        return found

    def train(
        self, sizes: Tensor, epochs: int, start: dict[str, Tensor] | None, probe: bool
    ) -> list[dict[float, float]]:
        """Train from a state, or from scratch, and return the qualities before the first and after every epoch."""
        network = self.module.network
        if start is None:
            network.reset_parameters(torch.Generator().manual_seed(0))
        else:
            network.load_state_dict(start)
        network.set_sizes(sizes)
        optimizer = torch.optim.Adam(network.parameters(), lr=1.0, fused=True)
        shares = SHARES if probe else SHARES[-1:]
        history, step = [self.qualities(shares)], 0
        for epoch in range(epochs):
            loader = self.data.train_dataloader()
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                optimizer.param_groups[0]["lr"] = self.schedule(step)
                pos_scores, neg_scores, penalty = network(*batch)
                optimizer.zero_grad()
                loss = torch.nn.functional.softplus(neg_scores - pos_scores).mean() + self.module.l2 * penalty
                loss.backward()
                optimizer.step()
                step += 1
            history.append(self.qualities(shares))
        return history


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    """Run the study and return the rank correlations by ``epochs/share``."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.probes", description=__doc__)
    parser.add_argument("--data", default="lastfm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--actions", type=int, default=15, help="actions to retrain and probe")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of pretraining and retraining")
    parser.add_argument("--keep-ratio", type=float, default=0.1)
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16_384)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    data = InteractionDataModule(options.data, str(options.data_dir), batch_size=options.batch_size)
    data.setup("fit")
    split = data.dataset
    trainer = Trainer(data, options.max_size, LRSchedule())
    num_rows = split.num_users + split.num_items
    full = torch.full((num_rows,), options.max_size)
    everyone = SHARES[-1]
    pretrained = max(q[everyone] for q in trainer.train(full, options.epochs, None, False))
    start = {name: value.clone() for name, value in trainer.module.network.state_dict().items()}
    cap = Budget(keep_ratio=options.keep_ratio).cap(num_rows, options.max_size)
    sampler = BoundedSampler(split.num_users, split.num_items, cap, options.max_size)
    drawn = sampler.sample(options.actions, torch.Generator().manual_seed(1))
    orders = [popularity_order(torch.from_numpy(f)) for f in (split.user_frequency, split.item_frequency)]
    retrained, probes, seconds = [], [], 0.0
    for index in range(options.actions):
        sizes = drawn.at(index).sizes(*orders)
        begin = time.perf_counter()
        probes.append(trainer.train(sizes, max(EPOCHS), start, True))
        seconds += time.perf_counter() - begin
        retrained.append(max(q[everyone] for q in trainer.train(sizes, options.epochs, None, False)))
        print(f"action {index + 1}: user share {float(drawn.user_share[index]):.2f}, fitness", end=" ")
        print(f"{retrained[-1] / pretrained:.3f}; probed {[round(q[everyone] / pretrained, 3) for q in probes[-1]]}")
    result = {
        f"{epochs}/{share}": spearman([history[epochs][share] for history in probes], retrained)
        for epochs in EPOCHS
        for share in SHARES
    }
    print(
        f"{options.data}, {options.actions} actions, a probe of {max(EPOCHS)} epochs: {seconds / options.actions:.1f} s"
    )
    for epochs in EPOCHS:
        print(
            f"{epochs} epochs: " + ", ".join(f"rho {result[f'{epochs}/{s}']:.2f} on {s:.0%} of users" for s in SHARES)
        )
    if options.json:
        options.json.write_text(json.dumps({"rho": result, "retrained": retrained}, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
