import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bet_lightning.runs.folder import write_record
from bet_lightning.runs.plots import plots_of, save_plots
from bet_lightning.runs.report import (
    describe_plan,
    next_commands,
    print_results,
    results_table,
)
from tests.runs.test_records import SHAPE, make_record, make_result

METRICS = {f"{measure}@{k}": 0.12345 for measure in ("recall", "ndcg") for k in (5, 10, 20)}
HALF = {name: value / 2 for name, value in METRICS.items()}


def lines_of(table: Table, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()


def test_table_fits_a_terminal_of_80_columns() -> None:
    full = replace(make_result("full", None, 0.2), params=1_237_376, bytes=4_949_504, valid=HALF)
    result = replace(make_result("two_numbers_fresh@247.50kB", "247.50kB", 0.1), params=618_688, valid=METRICS)
    record = make_record(full, replace(result, bytes=247_500, seconds=1_181.0))
    budgets = tuple(
        replace(budget, name=name) for budget, name in zip(record.budgets, ("247.50kB", "1MB"), strict=True)
    )
    lines = lines_of(results_table(replace(record, budgets=budgets), "valid"), 80)
    assert max(map(len, lines)) <= 80
    (line,) = (line.split() for line in lines if "two_numbers" in line)
    words = ["247.50kB", "two_numbers_fresh", "*", "618,688", "247.50", "kB", "0.1235", "0.1235", "200.0%", "1181"]
    assert line == words
    assert results_table(record, "test").row_count == 0  # not tested yet


def test_the_best_of_each_budget_is_marked_and_results_of_one_are_together() -> None:
    results = [
        make_result(name, budget, quality)
        for name, budget, quality in (
            ("full", None, 0.8),
            ("bet@0.5", "0.5", 0.3),
            ("bet@0.25", "0.25", 0.1),
            ("uniform@0.5", "0.5", 0.2),
            ("uniform@0.25", "0.25", 0.2),
        )
    ]
    rows = [line.split() for line in lines_of(results_table(make_record(*results), "valid"), 100)]
    shown = [[word for word in row if word[0] not in "─"] for row in rows if row and row[0] in ("full", "0.5", "0.25")]
    assert [row[:3] if row[2] == "*" else row[:2] for row in shown[1:]] == [
        ["0.5", "bet", "*"],
        ["0.5", "uniform"],
        ["0.25", "bet"],
        ["0.25", "uniform", "*"],
    ]
    assert [row[-2] for row in shown[1:]] == ["37.5%", "25.0%", "12.5%", "25.0%"]


def test_one_budget_needs_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    record = make_record(replace(make_result("bet", "0.5", 0.1), params=420, bytes=512_660, valid=METRICS))
    print_results(replace(record, budgets=record.budgets[:1]), "valid")
    row = next(line for line in capsys.readouterr().out.splitlines() if "bet" in line)
    assert row.split() == ["bet", "*", "420", "512.66", "kB", "0.1235", "0.1235", "2"]


def test_what_is_going_to_be_done_is_said_before() -> None:
    record = make_record()
    deployment = replace(record.budgets[0], name="1MB", unit="bytes", bytes=3_360, beside=1_000)
    said = describe_plan(replace(record, budgets=(*record.budgets, deployment)), SHAPE).splitlines()
    assert said[0] == "BET with LightGCN, d_max 8: a full table of 1,680 parameters, 6.72 kB"
    assert said[1].startswith("budget 0.5: 840 parameters, at most ")
    assert said[3] == "budget 1MB: 3.36 kB (50.00% of those bytes) for the table, 1.00 kB for what is beside it"


def test_commands_to_copy_name_the_config() -> None:
    commands = next_commands(Path("runs/x/config.yaml")).splitlines()
    assert [line.split()[5] for line in commands] == ["test", "predict", "export"]
    assert all("--config runs/x/config.yaml" in line for line in commands)


def test_plots_of_a_run_without_a_search(tmp_path: Path) -> None:
    record = make_record()
    write_record(tmp_path, replace(record, budgets=record.budgets[:1]))
    assert plots_of(tmp_path) == []  # no table yet
    record = make_record(make_result("full", None, 0.2), make_result("uniform", "0.5", 0.1))
    write_record(tmp_path, replace(record, budgets=record.budgets[:1]))
    assert [path.name for path in save_plots(plots_of(tmp_path), tmp_path)] == ["budgets.png", "bytes.png"]
