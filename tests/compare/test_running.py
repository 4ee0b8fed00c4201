import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bet_lightning.compare import running
from bet_lightning.compare.cells import Cell, Comparison
from bet_lightning.compare.rows import Row, in_order, read_rows
from bet_lightning.compare.running import CellRunner


def write_comparison(folder: Path) -> Comparison:
    path = folder / "table.yaml"
    axes = {"method": {"late": {"starts_from": "bet"}, "bet": None, "pq": {"x": 1}}}
    path.write_text(yaml.safe_dump({"axes": axes, "seeds": [0, 1]}, sort_keys=False))
    return Comparison.read(path)


def test_cells_in_parallel_wait_for_those_that_they_start_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = write_comparison(tmp_path)
    ended: list[str] = []
    both = threading.Barrier(2, timeout=20)

    def run(cell: Cell, runs: Path, command: Any, overrides: Sequence[str]) -> list[Row]:
        if cell.values["method"] == "bet":
            both.wait()  # only if two cells are run at once
        if cell.values["method"] == "late":
            assert f"bet-seed{cell.seed}" in ended
        ended.append(cell.name)
        if cell.name == "pq-seed1":
            raise SystemExit(1)
        return [{**cell.values, "seed": str(cell.seed), "cell": cell.key, "more": " ".join(overrides)}]

    monkeypatch.setattr(running, "run_cell", run)
    runner = CellRunner(comparison, tmp_path / "runs", ["--data.data_dir=there"])
    runner.run_in_parallel(comparison.cells, 2)
    assert runner.failed == ["pq-seed1"] and runner.left == 0
    rows = read_rows(comparison.table)
    assert [(row["method"], row["seed"]) for row in rows] == [
        *(("late", "0"), ("late", "1"), ("bet", "0"), ("bet", "1")),
        ("pq", "0"),
    ]
    assert {row["more"] for row in rows} == {"--data.data_dir=there"}
    late = CellRunner(comparison, tmp_path / "runs", [], max_seconds=-1.0)
    late.run_in_parallel(comparison.cells, 3)
    assert late.left == 6 and len(ended) == 6


def test_rows_are_in_the_order_of_their_cells(tmp_path: Path) -> None:
    cells = write_comparison(tmp_path).cells
    rows = [{**cell.values, "seed": str(cell.seed)} for cell in cells]
    gone = {"method": "gone", "seed": "0"}
    assert in_order([gone, *reversed(rows)], cells) == [*rows, gone]
