"""``python -m tests.benchmarks.convergence``: seconds to 99 % of a training's own best validation ndcg@20.

LightGCN with a falling learning rate and large batches against LightGCN with the settings of its paper (Adam at 0.001,
batches of 2,048), both with BPR, our step and the same initial weights. Epochs take turns, so that a drift of the
machine hits both; only training is timed. The paper's training ends after ``--rival-epochs`` at the latest: if it was
still rising, its seconds and the ratio are lower bounds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bet_lightning.data import InteractionDataModule
from bet_lightning.schedule import LRSchedule
from tests.benchmarks.training import Training, bpr_schedule

SHARE_OF_BEST = 0.99
PAPER = LRSchedule(lr=0.001, decay=1.0, min_lr=0.0)


class Curve:
    """Validation ndcg@20 over seconds of training."""

    def __init__(self, training: Training, patience: int) -> None:
        self.training, self.patience = training, patience
        self.points: list[tuple[float, float]] = []

    @property
    def best(self) -> float:
        """Highest ndcg@20 so far."""
        return max(ndcg for _, ndcg in self.points)

    @property
    def finished(self) -> bool:
        """Whether the last ``patience`` epochs brought no gain of a thousandth."""
        if len(self.points) <= self.patience:
            return False
        return self.best < 1.001 * max(ndcg for _, ndcg in self.points[: -self.patience])

    def advance(self) -> None:
        """Train an epoch and validate."""
        before = self.points[-1][0] if self.points else 0.0
        seconds = before + self.training.train_epoch()
        self.points.append((seconds, self.training.metrics()["ndcg@20"]))

    def reached(self, target: float) -> tuple[float, int]:
        """Seconds and epochs until ndcg@20 is at least a target."""
        for epoch, (seconds, ndcg) in enumerate(self.points, 1):
            if ndcg >= target:
                return seconds, epoch
        raise ValueError(f"ndcg@20 {target} was not reached")


def main(args: Sequence[str] | None = None) -> dict[str, float]:
    """Train both and return seconds, epochs and ndcg@20 of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.convergence", description=__doc__)
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8192, help="of ours")
    parser.add_argument("--epochs", type=int, default=60, help="of ours at most")
    parser.add_argument("--rival-epochs", type=int, default=60, help="of the paper's settings at most")
    parser.add_argument("--patience", type=int, default=8, help="epochs without a gain that end a training")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    settings = {
        "ours": (options.batch_size, options.epochs),
        "paper": (2048, options.rival_epochs),
    }
    curves = {}
    for name, (batch_size, _) in settings.items():
        data = InteractionDataModule(options.data, str(options.data_dir), batch_size=batch_size)
        data.setup("fit")
        schedule = bpr_schedule(data) if name == "ours" else PAPER
        curves[name] = Curve(Training(data, options.max_size, schedule), options.patience)
    while running := [n for n, c in curves.items() if not c.finished and len(c.points) < settings[n][1]]:
        for name in running:
            curves[name].advance()
        shown = (f"{n} {c.points[-1][0]:.1f} s {c.points[-1][1]:.4f}" for n, c in curves.items())
        print(f"epoch {max(len(c.points) for c in curves.values())}: " + ", ".join(shown), flush=True)
    result: dict[str, float] = {}
    for name, curve in curves.items():
        seconds, epochs = curve.reached(SHARE_OF_BEST * curve.best)
        result |= {f"{name}_s": seconds, f"{name}_epochs": epochs, f"{name}_ndcg@20": curve.best}
        state = "converged" if curve.finished else "still rising or cut off"
        print(f"{name}: best ndcg@20 {curve.best:.4f} ({state}); 99 % of it after {seconds:.1f} s, {epochs} epochs")
    result["ratio"] = result["paper_s"] / result["ours_s"]
    common, _ = curves["ours"].reached(min(SHARE_OF_BEST * curves["paper"].best, curves["ours"].best))
    print(f"ratio {result['ratio']:.1f}; ours reaches 99 % of the paper settings' best after {common:.1f} s")
    if options.json:
        points = {name: curve.points for name, curve in curves.items()}
        options.json.write_text(json.dumps({**result, "points": points}, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
