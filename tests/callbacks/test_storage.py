"""Retraining on packed tables against the same on masked ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from bet_lightning.cli import main
from bet_lightning.recommender import Recommender
from bet_lightning.runs.folder import read_record
from tests.conftest import SPECTRAL, UNIFORM, write_config

# 208 rows and 416 parameters, both multiples of 16: torch's Adam rounds the last values of others in another way
ROWS = ["--data.init_args.synthetic_users", "118"]
SETTINGS: dict[str, Any] = {
    "family": SPECTRAL,
    "search": {"num_iterations": 2},
    "probe": {"epochs": 1},
    "rules": [UNIFORM],
}


def recorded_fit(monkeypatch: pytest.MonkeyPatch, config: Path) -> list[tuple[bool, float]]:
    """Fit and return, step by step, whether the tables were packed and the loss."""
    steps: list[tuple[bool, float]] = []
    loss_of = Recommender.loss

    def record(recommender: Recommender, batch: Any) -> Tensor:
        loss = loss_of(recommender, batch)
        steps.append((recommender.network.is_packed, loss.item()))
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(Recommender, "loss", record)
        main(["fit", "--config", str(config), *ROWS])
    return steps


def curves(folder: Path) -> pl.DataFrame:
    """All validations of a run."""
    (logged,) = (folder / "logs").rglob("metrics.csv")
    frame = pl.read_csv(logged, infer_schema_length=None)
    return frame.select(name for name in frame.columns if "@" in name or name.startswith("train/"))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["LightGCN", "MF", "NGCF", "NeuMF"])
def test_losses_and_validations_are_those_of_masked_tables(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrain = {"num_actions": 1, "start": "both"}
    masked, packed = (
        recorded_fit(
            monkeypatch, write_config(tmp_path, storage, backbone, retrain=retrain | {"storage": storage}, **SETTINGS)
        )
        for storage in ("masked", "packed")
    )
    assert not any(is_packed for is_packed, _ in masked)
    flags = [is_packed for is_packed, _ in packed]
    # of thirteen epochs the last eight are retraining, before them are pretraining and probes
    assert flags == sorted(flags) and 13 * sum(flags) == 8 * len(flags)
    losses = [[loss for _, loss in steps] for steps in (masked, packed)]
    results = [read_record(tmp_path / storage).results for storage in ("masked", "packed")]
    assert len(results[0]) == 5
    if backbone == "NeuMF":  # shares a row's size among two tables, whose sums are not multiples of 16
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    else:
        assert losses[1] == losses[0]
        assert curves(tmp_path / "packed").equals(curves(tmp_path / "masked"))
    for of_masked, of_packed in zip(*results, strict=True):
        assert replace(of_packed, seconds=0, peak_memory_mb=0) == replace(of_masked, seconds=0, peak_memory_mb=0)
        states = [
            torch.load(tmp_path / storage / of_packed.checkpoint, weights_only=True)["state_dict"]
            for storage in ("masked", "packed")
        ]
        assert states[0].keys() == states[1].keys()
        for table in range(2 if backbone == "NeuMF" else 1):
            prefix = f"backbone.tables.{table}."
            sizes, weight = states[1][f"{prefix}sizes"], states[1][f"{prefix}weight"]
            outside = torch.arange(8) >= sizes.unsqueeze(1)
            assert sizes.equal(states[0][f"{prefix}sizes"])
            torch.testing.assert_close(weight, states[0][f"{prefix}weight"].masked_fill(outside, 0.0))


def test_a_cut_table_needs_no_training_to_be_packed(finished_run: Path, tmp_path: Path) -> None:
    full = str(finished_run / "checkpoints" / "full.ckpt")
    settings: dict[str, Any] = {"family": SPECTRAL, "search": {"num_iterations": 2}, "probe": {"epochs": 0}}
    retrain = {"num_actions": 1, "start": "warm", "max_epochs": 0}
    found = []
    for storage in ("masked", "packed"):
        config = write_config(
            tmp_path, storage, pretrain={"checkpoint": full}, retrain=retrain | {"storage": storage}, **settings
        )
        main(["fit", "--config", str(config)])
        found.append([(result.name, result.valid) for result in read_record(tmp_path / storage).results])
    assert [name for name, _ in found[0]] == ["full", "bet"]
    assert found[0] == found[1]


def test_refuses_another_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(write_config(tmp_path, "run", retrain={"storage": "sparse"}))])
    said = capsys.readouterr().err
    assert "storage" in said and "sparse" in said and len(said.splitlines()) == 1
