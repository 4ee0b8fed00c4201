from pathlib import Path

from bet_lightning.compare.cells import Cell
from bet_lightning.compare.rows import is_done, read_rows, rows_of, without_cell, write_rows
from bet_lightning.runs.records import BudgetRecord, ResultRecord, RunRecord

CELL = Cell({"data": "small", "method": "own"}, 1, {"x": 1})
VALID, TEST = {"recall@20": 0.25, "ndcg@20": 0.125}, {"recall@20": 0.2, "ndcg@20": 0.1}


def make_record() -> RunRecord:
    results = [
        ResultRecord("full", None, 1680, 6720, VALID, TEST, 5, 3, 1.25, 100.0, "checkpoints/full.ckpt"),
        ResultRecord("bet_warm@0.1", "0.1", 168, 900, VALID, TEST, 2, 0, 0.5, 100.0, "checkpoints/bet_warm@0.1.ckpt"),
        ResultRecord("two_numbers@0.1", "0.1", 168, 900, VALID, TEST, 2, 0, 0.5, 100.0, "checkpoints/x.ckpt"),
    ]
    budget = BudgetRecord("0.1", "params", 168, 900, 0.1, "fp32")
    dataset = {"name": "small", "hash": "0123456789abcdef"}
    return RunRecord(dataset, "MF", 8, "BET", (budget,), {"bet_lightning": "9"}, 1, tuple(results))


def test_a_row_a_result_comes_back_from_the_file(tmp_path: Path) -> None:
    rows = rows_of(CELL, make_record(), "ratio")
    assert [(row["result"], row["start"], row["budget"]) for row in rows] == [
        ("full", "", ""),
        ("bet", "warm", "0.1"),
        ("two_numbers", "", "0.1"),
    ]
    assert rows[1]["data"] == "small" and rows[1]["ndcg@20"] == "0.100000" and rows[1]["valid_recall@20"] == "0.250000"
    path = tmp_path / "table.csv"
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert path.read_text().splitlines()[0].startswith("data,method,split,d_max,result,start,budget,seed")
    assert read_rows(tmp_path / "none.csv") == []


def test_a_cell_is_done_where_its_settings_are_the_same_or_were_not_noted() -> None:
    rows = rows_of(CELL, make_record(), "ratio")
    assert is_done(CELL, rows)
    assert not is_done(Cell(CELL.values, 2, CELL.settings), rows)
    assert not is_done(Cell(CELL.values, 1, {"x": 2}), rows)
    assert not is_done(Cell({"data": "large", "method": "own"}, 1, CELL.settings), rows)
    means = [{**row, "seed": "", "seeds": "3", "cell": ""} for row in rows]
    assert is_done(Cell(CELL.values, 2, {"x": 2}), means)
    assert without_cell(CELL, rows) == [] and without_cell(Cell(CELL.values, 5, {}), rows) == rows
