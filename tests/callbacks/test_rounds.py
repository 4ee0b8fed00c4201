import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.cli import main
from bet_lightning.runs.folder import read_probes, read_record
from tests.conftest import SPECTRAL, UNIFORM, write_config

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "search": {"num_iterations": 5},
    "tune": {"num_actions": 1},
    "pretrain": {"max_epochs": 3, "patience": 1},
    "retrain": {"num_actions": 1, "start": "both", "max_epochs": 3, "patience": 1, "parallel": "actions"},
    "rules": [UNIFORM],
}


def fit_on_two(config: Path) -> None:
    command = [sys.executable, "-m", "bet_lightning", "fit", "--config", str(config)]
    devices = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    subprocess.run([*command, *devices], check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a fit on two processes."""
    folder = tmp_path_factory.mktemp("runs")
    fit_on_two(write_config(folder, "run", **SETTINGS))
    return folder / "run"


def test_ranks_probe_actions_of_their_own(run_of_two: Path) -> None:
    rule, *records = read_probes(run_of_two / "actions.jsonl")
    assert (rule.strategy, rule.iteration, rule.rank) == ("given", 0, 0)
    assert [record.iteration for record in records] == [1, 2, 3, 4, 5]
    assert [record.rank for record in records] == [0, 1, 0, 1, 0]
    assert len({record.action.key for record in records}) == 5
    assert all(record.fitness > 0 and len(record.metrics) == 6 for record in records)
    assert sorted(start for record in records for start in record.tuned) == ["fresh", "warm"]


def test_ranks_retrain_actions_of_their_own(run_of_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = read_record(run_of_two)
    names = {result.name for result in run.results}
    assert names == {f"{name}_{start}" for name in ("bet", "uniform") for start in ("fresh", "warm")} | {"full"}
    main(
        [
            "validate",
            "--config",
            str(run_of_two / "config.yaml"),
            "--trainer.devices",
            "1",
            "--trainer.strategy",
            "auto",
        ]
    )
    shown = capsys.readouterr().out
    for result in run.results:  # what other ranks trained is what was saved
        assert f"{result.valid['ndcg@20']:.4f}" in shown


def test_ranks_train_a_packed_table_together(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": SPECTRAL, "search": {"num_iterations": 2}, "probe": {"epochs": 0}}
    states = []
    for storage in ("masked", "packed"):
        fit_on_two(write_config(tmp_path, storage, "NGCF", retrain={"num_actions": 1, "storage": storage}, **settings))
        checkpoint = torch.load(tmp_path / storage / "checkpoints" / "best.ckpt", weights_only=True)
        states.append(checkpoint["state_dict"])
    outside = torch.arange(8) >= states[0]["backbone.tables.0.sizes"].unsqueeze(1)
    states[0]["backbone.tables.0.weight"].masked_fill_(outside, 0.0)
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["AutoEmb", "ESAPN"])
def test_ranks_learn_the_sizes_that_one_does(name: str, tmp_path: Path) -> None:
    method = {"class_path": name, "init_args": {"learn": {"max_epochs": 3}, "train": {"max_epochs": 1}}}
    fit_on_two(write_config(tmp_path, "two", method=method))
    main(["fit", "--config", str(write_config(tmp_path, "one", method=method))])
    two, one = ((tmp_path / run / "sizes" / f"{name.lower()}.txt").read_text() for run in ("two", "one"))
    assert two == one
    assert read_record(tmp_path / "two").results[0].params == read_record(tmp_path / "one").results[0].params
