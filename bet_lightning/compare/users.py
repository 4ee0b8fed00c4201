"""Finds what each user reached with the result of a row, in the run folder of its cell."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.rows import Row, kind_and_start
from bet_lightning.runs.folder import read_record
from bet_lightning.runs.users import read_users


class CellUsers:
    """The users' metrics of a comparison's cells, each file read once.

    Args:
        comparison: The comparison.
        runs: Folder of its runs.
    """

    def __init__(self, comparison: Comparison, runs: Path) -> None:
        self._axes = comparison.axes
        self._folders = {
            (*cell.values.values(), str(cell.seed), cell.key): cell.folder(runs) for cell in comparison.cells
        }
        self._read: dict[Path, dict[tuple[str, str, str], pl.DataFrame]] = {}

    def __call__(self, row: Row) -> pl.DataFrame | None:
        """Return the table of a row's result; None where its run is of other settings, gone, or kept no users."""
        folder = self._folders.get((*(row.get(axis, "") for axis in self._axes), row["seed"], row.get("cell", "")))
        if folder is None:
            return None
        if folder not in self._read:
            self._read[folder] = _by_result(folder)
        return self._read[folder].get((row["result"], row["start"], row["budget"]))


def _by_result(folder: Path) -> dict[tuple[str, str, str], pl.DataFrame]:
    tables = read_users(folder)
    results = read_record(folder).results if tables else ()
    return {
        (*kind_and_start(result.name), result.budget or ""): tables[result.name]
        for result in results
        if result.name in tables
    }
