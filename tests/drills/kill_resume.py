"""``python -m tests.drills.kill_resume --kills 20``: kill runs at random moments, resume them, compare what they leave.

A small run with all phases goes through undisturbed. Then as many others are killed (SIGKILL, the whole process group)
at a random moment each, from when their folder is there on, and continued with ``--ckpt_path last.ckpt``, or started
again where there is none yet. Probed actions, sizes, metrics and weights must equal the undisturbed run's, bit for bit;
seconds and paths differ, of course.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.conftest import SPECTRAL, UNIFORM, write_config

SETTINGS: dict[str, Any] = {
    **{"family": SPECTRAL, "rules": [UNIFORM], "pretrain": {"max_epochs": 6}, "search": {"num_iterations": 16}},
    **{"probe": {"epochs": 1}, "tune": {"num_actions": 3, "epochs": 2}},
    "retrain": {"num_actions": 1, "start": "both", "max_epochs": 6},
}


def fit(config: Path, devices: int, *more: str) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own; what it says goes into a file beside its folder."""
    command = [sys.executable, "-m", "bet_lightning", "fit", "--config", str(config), *more]
    if devices > 1:
        command += ["--trainer.devices", str(devices), "--trainer.strategy", "ddp"]
    with config.with_suffix(".log").open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def training_begins(process: subprocess.Popen[bytes], config: Path) -> float:
    """Wait until a run that was started has its folder; the time of then."""
    while process.poll() is None and not (config.with_suffix("") / "config.yaml").exists():
        time.sleep(0.01)
    return time.monotonic()


def finish(process: subprocess.Popen[bytes], config: Path) -> None:
    """Wait for a run.

    Raises:
        RuntimeError: If it fails.
    """
    if process.wait():
        said = config.with_suffix(".log").read_text()
        raise RuntimeError(f"{config.stem}: fit ended with {process.returncode}\n{said[-3000:]}")


def remains(folder: Path) -> dict[str, Any]:
    """What a finished run left, without what differs from run to run."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("seconds", "seconds_to_begin", "peak_memory_mb")
            return {key: timeless(each) for key, each in value.items() if key not in left_out}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    lines = (folder / "actions.jsonl").read_text().splitlines()
    summary = json.loads((folder / "summary.json").read_text())
    weights = {}
    for result in summary["results"]:
        state = torch.load(folder / result["checkpoint"], weights_only=True)["state_dict"]
        weights[result["name"]] = {name: tensor.numpy().tobytes() for name, tensor in state.items()}
    return {
        "actions": [timeless(json.loads(line)) for line in lines],
        "results": timeless(summary["results"]),
        "search": timeless(summary["search"]),
        "sizes": {path.name: path.read_text() for path in sorted((folder / "sizes").iterdir())},
        "weights": weights,
    }


def main(args: Sequence[str] | None = None) -> None:
    """Run the drill.

    Raises:
        RuntimeError: If a run fails or a resumed one differs.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.drills.kill_resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--storage", choices=("masked", "packed"), default="masked")
    parser.add_argument("--after", type=float, help="share of the undisturbed run's time, instead of random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(args)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = {**SETTINGS, "retrain": {**SETTINGS["retrain"], "storage": options.storage}}
        config = write_config(folder, "undisturbed", **settings)
        began = training_begins(process := fit(config, options.devices), config)
        finish(process, config)
        length = time.monotonic() - began
        undisturbed = remains(folder / "undisturbed")
        print(f"undisturbed: {length:.1f} s of training, {len(undisturbed['actions'])} probes", flush=True)
        for kill in range(options.kills):
            config = write_config(folder, f"kill{kill}", **settings)
            moment = length * (chance.random() if options.after is None else options.after)
            process = fit(config, options.devices)
            training_begins(process, config)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            last = folder / f"kill{kill}" / "checkpoints" / "last.ckpt"
            more = ["--ckpt_path", str(last)] if last.exists() else []
            epochs = torch.load(last, weights_only=True)["epoch"] if more else -1
            finish(fit(config, options.devices, *more), config)
            found = remains(folder / f"kill{kill}")
            differing = [part for part, value in undisturbed.items() if found[part] != value]
            print(f"killed after {moment:.1f} s, resumed after epoch {epochs}: {differing or 'equal'}", flush=True)
            if differing:
                raise RuntimeError(f"kill {kill}: {', '.join(differing)} differ")


if __name__ == "__main__":
    main()
