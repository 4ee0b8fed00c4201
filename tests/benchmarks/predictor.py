"""``python -m tests.benchmarks.predictor``: how well the fitness predictor ranks actions that it has not seen.

A search draws its actions at random and probes them one by one. What it predicted of the last ones, each before its
probe and by a predictor that had learned from all probes before it, is compared with what the probes measured:
Spearman's rank correlation. Arguments after ``--`` are given to ``fit``.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bet_lightning.methods.bet.fitting import spearman
from bet_lightning.runs.folder import ACTIONS, read_probes

METHOD = "--search.method."


def search(folder: Path, options: argparse.Namespace) -> None:
    """Run a search that draws at random, with the shortest retraining."""
    command = [sys.executable, "-m", "bet_lightning", "fit", f"--trainer.default_root_dir={folder}"]
    command += [
        f"--data.name={options.data}",
        f"--data.data_dir={options.data_dir}",
        f"--model.backbone={options.backbone}",
    ]
    command += [f"--model.backbone.max_size={options.max_size}", f"--search.budget={options.budget}"]
    command += ["--trainer.enable_progress_bar=false", "--trainer.logger=false", f"{METHOD}family={options.family}"]
    command += [f"{METHOD}rules=[]", f"{METHOD}tune.num_actions=0", f"{METHOD}retrain.max_epochs=1"]
    command += [f"{METHOD}search.num_iterations={options.probes}", f"{METHOD}search.num_random={options.probes}"]
    subprocess.run([*command, *options.fit], check=True, stdout=subprocess.DEVNULL)


def main(args: Sequence[str] | None = None) -> float:
    """Run the study and return the rank correlation."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.predictor", description=__doc__)
    parser.add_argument("--data", default="lastfm")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--backbone", default="LightGCN")
    parser.add_argument("--family", default="SpectralFamily")
    parser.add_argument("--max-size", type=int, default=64)
    parser.add_argument("--budget", default="10%")
    parser.add_argument("--probes", type=int, default=80)
    parser.add_argument("--unseen", type=int, default=40, help="how many of the last probes count")
    words = list(sys.argv[1:] if args is None else args)
    own = words[: words.index("--")] if "--" in words else words
    options = parser.parse_args(own)
    options.fit = words[len(own) + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder), options)
        probes = [probe for probe in read_probes(Path(folder) / ACTIONS) if not probe.failed]
    unseen = probes[-options.unseen :]
    measured = [probe.fitness for probe in unseen]
    rho = spearman([probe.predicted_fitness for probe in unseen], measured)
    what = f"{options.data}, {options.backbone}, {options.family}, {options.budget}"
    print(f"{what}: rho = {rho:.3f} on {len(unseen)} unseen actions ", end="")
    print(f"of fitness {min(measured):.3f} to {max(measured):.3f}, after {len(probes) - len(unseen)} probes")
    return rho


if __name__ == "__main__":
    main()
