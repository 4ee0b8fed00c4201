import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from rich.console import Console

from bet_lightning.cli import main
from bet_lightning.runs.folder import write_record
from bet_lightning.runs.plots import plot_run
from bet_lightning.runs.report import define_axes, define_result_axis, print_results, results_table
from tests.conftest import UNIFORM, write_config
from tests.runs.test_records import make_record, make_result

METRICS = {f"{measure}@{k}": 0.12345 for measure in ("recall", "ndcg") for k in (5, 10, 20)}


def test_every_phase_has_its_own_axis(tmp_path: Path) -> None:
    experiment = Mock()
    loggers: list[Any] = [CSVLogger(tmp_path), Mock(spec=WandbLogger, experiment=experiment)]
    define_axes(loggers)
    define_result_axis(loggers, "bet@0.1")
    axes = {call.args[0]: call.kwargs.get("step_metric") for call in experiment.define_metric.call_args_list}
    assert axes["pretrain/*"] == "pretrain/epoch"
    assert axes["probe/*"] == "probe/iteration"
    assert axes["retrain/bet@0.1/*"] == "retrain/bet@0.1/epoch"


def test_table_fits_a_terminal_of_80_columns() -> None:
    result = replace(
        make_result("two_numbers", "0.25", 0.1), params=618_688, bytes=2_474_752, valid=METRICS, seconds=181.0
    )
    record = make_record(result)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(record, "valid"))
    (line,) = (line.split() for line in console.export_text().splitlines() if "two_numbers" in line)
    assert line == ["two_numbers", "*", "618,688", "2.47", "MB", *["0.1235"] * 6, "181"]
    assert results_table(record, "test").row_count == 0  # not tested yet


def test_the_best_of_each_budget_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        make_result(name, budget, quality)
        for name, budget, quality in (
            ("full", None, 0.9),
            ("bet@0.5", "0.5", 0.3),
            ("bet@0.25", "0.25", 0.1),
            ("uniform@0.25", "0.25", 0.2),
        )
    ]
    print_results(make_record(*results), "valid")
    marked = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " * " in line]
    assert marked == ["bet@0.5", "uniform@0.25"]


def test_a_file_gets_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    result = replace(make_result("two_numbers_fresh@0.25", "0.5", 0.1), params=1_233_472, bytes=512_660, valid=METRICS)
    print_results(make_record(result), "valid")
    row = next(line for line in capsys.readouterr().out.splitlines() if "two_numbers_fresh" in line)
    assert row.split() == ["two_numbers_fresh@0.25", "*", "1,233,472", "512.66", "kB", *["0.1235"] * 6, "2"]


def test_plots_of_a_run_without_a_search(tmp_path: Path) -> None:
    record = make_record()
    write_record(tmp_path, replace(record, budgets=record.budgets[:1]))
    assert [path.name for path in plot_run(tmp_path)] == ["sizes.png"]


@pytest.mark.slow
def test_weights_and_biases_offline_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = write_config(tmp_path, "run", rules=[UNIFORM], search={"num_iterations": 2}, retrain={"num_actions": 1})
    wandb_config = tmp_path / "wandb.yaml"
    shipped = Path(__file__).parents[2] / "configs" / "wandb.yaml"
    wandb_config.write_text(shipped.read_text().replace("save_dir: runs", f"save_dir: {tmp_path}"))
    main(["fit", "--config", str(config), "--config", str(wandb_config)])
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (table,) = run.rglob("results_*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["name", "budget", "params"]
    assert [row[0] for row in content["data"]] == ["full", "bet", "uniform"]
    pictures = {path.name.split("_")[0] for path in run.rglob("*.png")}
    assert pictures == {"sizes", "fitness", "predictor"}
    assert list((tmp_path / "run" / "logs").rglob("metrics.csv"))  # CSV files as well
