"""``python -m tests.benchmarks.ranks``: how many probes several ranks of one thread measure in the time of one rank.

Every run goes on from the same pre-trained table of LastFM and probes actions of the paper's for an epoch each. What a
number of further probes takes is the difference between two runs, so that starting and retraining are not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = ["--data.name=lastfm", "--data.batch_size=2048", "--model.backbone=LightGCN", "--model.backbone.max_size=64"]
METHOD = "--search.method."
FEW = 8  # probes of the shorter run


def fit(folder: Path, data_dir: Path, seed: int, ranks: int, settings: Mapping[str, object]) -> float:
    """Run ``fit`` and return its seconds."""
    command = [sys.executable, "-m", "bet_lightning", "fit", *DATA, f"--data.data_dir={data_dir}"]
    command += [f"--trainer.default_root_dir={folder}", f"--seed_everything={seed}", "--search.budget=10%"]
    command += ["--trainer.enable_progress_bar=false", f"{METHOD}rules=[]", f"{METHOD}tune.num_actions=0"]
    command += [f"{METHOD}retrain.start=fresh", f"{METHOD}probe.user_share=1.0"]
    command += [f"{METHOD}{name}={value}" for name, value in settings.items()]
    if ranks > 1:
        command += [f"--trainer.devices={ranks}", "--trainer.strategy=ddp"]
    begin = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - begin


def best_fitness(folder: Path) -> float:
    """The best fitness of a run's probes."""
    lines = (folder / "actions.jsonl").read_text().splitlines()
    return max(float(json.loads(line)["fitness"]) for line in lines)


def main(args: Sequence[str] | None = None) -> float:
    """Measure, print and return the ratio of the rates."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ranks", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--probes", type=int, default=16, help="further probes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10, help="of pretraining")
    options = parser.parse_args(args)
    seconds: dict[int, list[float]] = {1: [], options.ranks: []}
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "full"
        fit(full, options.data_dir, 0, 1, {"search.num_iterations": 0, "pretrain.max_epochs": options.epochs})
        settings = {"pretrain.checkpoint": full / "checkpoints" / "full.ckpt", "family": "PopularityFamily"}
        settings |= {"search.num_random": 0, "retrain.max_epochs": 1}
        for seed in range(options.seeds):
            for ranks, taken in seconds.items():
                times = []
                for probes in (FEW, FEW + options.probes):
                    folder = Path(temporary) / f"{seed}-{ranks}-{probes}"
                    chosen = settings | {"search.num_iterations": probes}
                    times.append(fit(folder, options.data_dir, seed, ranks, chosen))
                taken.append(times[1] - times[0])
                found = best_fitness(folder)
                print(f"seed {seed}, {ranks} ranks: {taken[-1]:.1f} s, best fitness {found:.4f}", flush=True)
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[options.ranks])
    print(f"{options.ranks} ranks probe {ratio:.2f} times as many in the same time (medians)")
    return ratio


if __name__ == "__main__":
    main()
