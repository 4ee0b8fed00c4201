import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.cli import main
from bet_lightning.results import read_records, read_summary
from tests.conftest import write_config

SETTINGS: dict[str, Any] = {
    **{"num_iterations": 5, "num_tuned": 1, "num_retrain": 1, "max_epochs": 3, "patience": 1},
    **{"retrain_init": "both", "retrain_parallel": "actions"},
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
    records = read_records(run_of_two / "actions.jsonl")
    assert [record["iteration"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["rank"] for record in records] == [0, 1, 0, 1, 0]
    assert len({str([record["user_counts"], record["item_counts"]]) for record in records}) == 5
    assert all(record["fitness"] > 0 and len(record["metrics"]) == 6 for record in records)
    tuned = [record["tuned"] for record in records if "tuned" in record]
    assert sorted(start for each in tuned for start in each) == ["fresh", "warm"]


def test_ranks_retrain_actions_of_their_own(run_of_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = read_summary(run_of_two)
    names = {result["name"] for result in summary["results"]}
    assert names == {f"{name}{start}" for name in ("bet", "uniform") for start in ("", "_fresh", "_warm")} | {"full"}
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
    for result in summary["results"]:  # what other ranks trained is what was saved
        assert f"{result['valid']['ndcg@20']:.4f}" in shown


def test_ranks_train_a_packed_table_together(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": "spectral", "num_iterations": 2, "probe_epochs": 0, "num_retrain": 1}
    states = []
    for storage in ("masked", "packed"):
        fit_on_two(write_config(tmp_path, storage, "NGCF", storage=storage, **settings))
        checkpoint = torch.load(tmp_path / storage / "checkpoints" / "best.ckpt", weights_only=True)
        states.append(checkpoint["state_dict"])
    outside = torch.arange(8) >= states[0]["backbone.tables.0.sizes"].unsqueeze(1)
    states[0]["backbone.tables.0.weight"].masked_fill_(outside, 0.0)
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, rtol=1e-3, atol=1e-5)
