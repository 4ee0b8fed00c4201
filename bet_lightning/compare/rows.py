"""The tidy CSV of a comparison: a row a result."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bet_lightning.compare.cells import Cell
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing
from bet_lightning.runs.records import ResultRecord, RunRecord

Row = dict[str, str]
_METRICS = ("recall@20", "ndcg@20")
_AFTER_AXES = (
    *("split", "d_max", "result", "start", "budget", "seed", "seeds", "params", "bytes", "beside", "dtype"),
    *(f"valid_{name}" for name in _METRICS),
    *_METRICS,
    *(f"{name}_std" for name in _METRICS),
    *("epochs", "seconds", "version", "note", "cell", "data_hash"),
)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV file, none if there is no such file yet.

    Raises:
        ValueError: If it cannot be read.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file of results ({error})") from None


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace a CSV file in one step; columns are in the order in which rows first have them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue())


def method_of(row: Row) -> str:
    """Return what made a row's table: a rule that was trained beside a search is a method of its own."""
    method = row.get("method", "")
    return method if row["result"] in ("bet", FULL, method) else row["result"]


def is_done(cell: Cell, rows: Sequence[Row]) -> bool:
    """Whether rows have a cell's results: with its settings, or from a version that did not note them."""
    return any(_is_of(cell, row) and row.get("cell", "") in ("", cell.key) for row in rows)


def without_cell(cell: Cell, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are not a cell's."""
    return [row for row in rows if not _is_of(cell, row)]


def kind_and_start(result: str) -> tuple[str, str]:
    """Return what made a result and how its training began, by its name: ``bet_warm@10%`` is ``bet`` from ``warm``."""
    stem = result.partition("@")[0]
    kind, _, start = stem.rpartition("_")
    return (kind, start) if start in ("fresh", "warm") else (stem, "")


def in_order(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    """Return rows in the order of their cells, those of no cell last, whatever was done first."""
    return sorted(rows, key=lambda row: next((n for n, cell in enumerate(cells) if _is_of(cell, row)), len(cells)))


def rows_of(cell: Cell, record: RunRecord, split: str) -> list[Row]:
    """Return a row for every result of a cell's finished and tested run.

    Args:
        cell: The cell.
        record: What its run says of itself.
        split: Name of the split.
    """
    return [_row(cell, record, result, split) for result in record.results]


def _row(cell: Cell, record: RunRecord, result: ResultRecord, split: str) -> Row:
    kind, start = kind_and_start(result.name)
    values: Mapping[str, Any] = {
        "split": split,
        "d_max": record.d_max,
        "result": kind,
        "start": start,
        "budget": result.budget or "",
        "seed": cell.seed,
        "seeds": 1,
        "params": result.params,
        "bytes": result.bytes,
        "beside": result.beside or "",
        "dtype": result.dtype,
        **{f"valid_{name}": f"{result.valid[name]:.6f}" for name in _METRICS},
        **{name: f"{result.test[name]:.6f}" for name in _METRICS if name in result.test},
        "epochs": result.epochs,
        "seconds": f"{result.seconds:.1f}",
        "version": record.versions["bet_lightning"],
        "cell": cell.key,
        "data_hash": str(record.dataset["hash"])[:12],
    }
    return {**cell.values, **{name: str(values.get(name, "")) for name in _AFTER_AXES}}


def _is_of(cell: Cell, row: Row) -> bool:
    """Whether a row is of a cell's values and its seed; a row of several seeds is of each of them."""
    same = all(row.get(axis, "") == value for axis, value in cell.values.items())
    return same and row.get("seed", "") in ("", str(cell.seed))
