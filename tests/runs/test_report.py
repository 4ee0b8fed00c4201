import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from bet_lightning.cli import main
from bet_lightning.report import define_axes, print_results
from tests.conftest import write_config


def test_every_phase_has_its_own_axis(tmp_path: Path) -> None:
    experiment = Mock()
    define_axes([CSVLogger(tmp_path), Mock(spec=WandbLogger, experiment=experiment)], ["bet", "uniform"])
    axes = {call.args[0]: call.kwargs.get("step_metric") for call in experiment.define_metric.call_args_list}
    assert axes["pretrain/*"] == "pretrain/epoch"
    assert axes["probe/*"] == "probe/iteration"
    assert axes["retrain/bet/*"] == "retrain/bet/epoch"
    assert axes["retrain/uniform/*"] == "retrain/uniform/epoch"


def test_a_file_gets_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"{measure}@{k}": 0.12345 for measure in ("recall", "ndcg") for k in (5, 10, 20)}
    result = {"name": "two_numbers_fresh", "params": 1_233_472, "bytes": 512_660, "valid": metrics, "seconds": 100}
    budget = {"params": 123_347, "keep_ratio": 0.1}
    summary = {"dataset": {"name": "x"}, "backbone": "MF", "d_max": 64, "budget": budget, "results": [result]}
    summary["budgets"] = [budget]
    print_results(summary, "valid")
    row = next(line for line in capsys.readouterr().out.splitlines() if "two_numbers_fresh" in line)
    assert row.split() == ["two_numbers_fresh", "1,233,472", "512.66", "kB", *["0.1235"] * 6, "100"]


def test_weights_and_biases_offline_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = write_config(tmp_path, "run", num_iterations=2, num_retrain=1)
    wandb_config = tmp_path / "wandb.yaml"
    shipped = Path(__file__).parent.parent / "configs" / "wandb.yaml"
    wandb_config.write_text(shipped.read_text().replace("save_dir: runs", f"save_dir: {tmp_path}"))
    main(["fit", "--config", str(config), "--config", str(wandb_config)])
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (table,) = run.rglob("results_*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["name", "params", "bytes"]
    assert [row[0] for row in content["data"]] == ["full", "bet", "uniform"]
    pictures = {path.name.split("_")[0] for path in run.rglob("*.png")}
    assert pictures == {"sizes", "fitness", "predictor"}
    assert list((tmp_path / "run" / "logs").rglob("metrics.csv"))  # CSV files as well
