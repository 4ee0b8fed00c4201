"""Whole runs whose ranks share the columns of a table."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bet_lightning.cli import main
from bet_lightning.runs.folder import read_record
from tests.conftest import SPECTRAL, UNIFORM, write_config

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "family": SPECTRAL,
    "rules": [UNIFORM],
    "pretrain": {"max_epochs": 4, "patience": 4},
    "search": {"num_iterations": 3},
    "probe": {"epochs": 0},
    "tune": {"num_actions": 1},
    "retrain": {"num_actions": 1, "start": "both", "max_epochs": 3, "patience": 3},
}
COLUMNS = ["--trainer.devices", "2", "--trainer.strategy", "columns"]


def on_two(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments, *COLUMNS]
    return subprocess.run(command, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode


def results(folder: Path) -> dict[str, list[float]]:
    """Validation metrics by result."""
    return {result.name: list(result.valid.values()) for result in read_record(folder).results}


@pytest.mark.parametrize("backbone", ["LightGCN", "MF"])
def test_two_processes_end_where_one_does(tmp_path: Path, backbone: str) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "one", backbone, **SETTINGS))])
    assert on_two("bet_lightning", "fit", "--config", str(write_config(tmp_path, "two", backbone, **SETTINGS))) == 0
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    assert set(one) == set(two) == {"full", "bet_fresh", "bet_warm", "uniform_fresh", "uniform_warm"}
    for name, metrics in one.items():
        assert two[name] == pytest.approx(metrics, abs=0.02), name


@pytest.mark.parametrize("devices", [1, 2])
def test_any_number_of_processes_goes_on_from_a_checkpoint(tmp_path: Path, devices: int) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "whole", "LightGCN", **SETTINGS))])
    config = str(write_config(tmp_path, "broken", "LightGCN", **SETTINGS))
    assert on_two("tests.interruption", "2", "fit", "--config", config) != 0
    assert not (tmp_path / "broken" / "summary.json").exists() or not results(tmp_path / "broken")
    rest = ["fit", "--config", config, "--ckpt_path", "last"]
    if devices == 1:
        main(rest)
    else:
        assert on_two("bet_lightning", *rest) == 0
    expected = results(tmp_path / "whole")
    for name, metrics in results(tmp_path / "broken").items():
        assert metrics == pytest.approx(expected[name], abs=0.02), name
