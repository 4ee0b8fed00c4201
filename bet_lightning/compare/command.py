"""``python -m bet_lightning compare FILE``: runs the missing cells of a table and writes its CSV."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from filelock import FileLock
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.compare.cells import Cell, Comparison
from bet_lightning.compare.plots import plot_tradeoff
from bet_lightning.compare.rows import Row, is_done, read_rows, rows_of, without_cell, write_rows
from bet_lightning.compare.tables import side_by_side
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing
from bet_lightning.runs.dashboards import group_runs
from bet_lightning.runs.folder import read_record

log = logging.getLogger(__name__)
FULL_CHECKPOINT = Path("checkpoints", f"{FULL}.ckpt")
Command = Callable[[list[str]], None]


def compare(args: Sequence[str], command: Command) -> int:
    """Run the missing cells of a comparison, one after another.

    Every cell is a ``fit`` and a ``test`` in a folder of its own. Its rows are written as soon as it is done, and one
    that was interrupted goes on where it was.

    Args:
        args: Arguments of the command line, without the command's name; what follows ``--`` is given to every ``fit``.
        command: Runs one command of the command line, and raises ``SystemExit`` where it fails.

    Returns:
        The exit code: 1 if a cell failed.

    Raises:
        ValueError: If the file is not a comparison.
    """
    options, overrides = _parse(args)
    comparison = Comparison.read(options.file)
    table = options.file.with_suffix(".csv")
    rows = read_rows(table)
    cells = [cell for cell in comparison.cells if options.only in cell.name]
    missing = [cell for cell in cells if options.again or not is_done(cell, rows)]
    log.info("%s: %d cells, %d of them missing", options.file, len(cells), len(missing))
    if options.list:
        for cell in missing:
            log.info("%s", cell.name)
        return 0
    group_runs(options.file.stem)
    failed: list[str] = []
    begin = time.monotonic()
    for number, cell in enumerate([] if options.report else missing):
        spent = time.monotonic() - begin
        if options.max_seconds is not None and spent > options.max_seconds:
            log.info("%d cells are left: no further one is begun after %g s", len(missing) - number, spent)
            break
        left = f", about {spent / number * (len(missing) - number) / 60:.0f} min left" if number else ""
        log.info("cell %d of %d%s: %s", number + 1, len(missing), left, cell.name)
        try:
            folder = options.runs / options.file.stem
            found = run_cell(cell, folder, command, [*start_of(comparison.source_of(cell), folder), *overrides])
        except SystemExit as stop:
            if stop.code not in (1, 2):
                raise
            failed.append(cell.name)
            continue
        with FileLock(table.with_suffix(".lock")):
            # read again: another process may have added rows of other cells
            rows = [*without_cell(cell, read_rows(table)), *found]
            write_rows(table, rows)
    Console().print(summary_table(comparison, rows))
    report(comparison, rows)
    if failed:
        log.error("failed: %s", ", ".join(failed))
    return 1 if failed else 0


def report(comparison: Comparison, rows: Sequence[Row]) -> None:
    """Write a comparison's picture and its tables beside it."""
    path = comparison.path
    written = [path.with_suffix(".csv")]
    grid = side_by_side(rows, comparison.axes)
    for suffix, text in ((".md", grid.markdown()), (".tex", grid.latex())):
        with replacing(path.with_suffix(suffix)) as partial:
            partial.write_text(text, "utf-8")
        written.append(path.with_suffix(suffix))
    if plot_tradeoff(rows, path.with_suffix(".png")):
        written.append(path.with_suffix(".png"))
    log.info("results: %s", ", ".join(map(str, written)))


def run_cell(cell: Cell, folder: Path, command: Command, overrides: Sequence[str]) -> list[Row]:
    """Run a cell, or go on with it, and return its rows.

    Args:
        cell: The cell.
        folder: Where the runs of the comparison are.
        command: Runs one command of the command line.
        overrides: Further arguments of ``fit``, as where data lies on this machine.
    """
    run = folder_of(cell, folder)
    config = run.with_name(f"{run.name}.yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(dict(cell.settings), sort_keys=False))
    common = [f"--trainer.default_root_dir={run}", *overrides]
    last = run / "checkpoints" / "last.ckpt"
    resume = [f"--ckpt_path={last}"] if last.is_file() else []
    command(["fit", f"--config={config}", *common, *resume])
    command(["test", f"--config={run / 'config.yaml'}"])
    written = yaml.safe_load((run / "config.yaml").read_text())
    split = written["data"]["init_args"].get("split") or ""
    return rows_of(cell, read_record(run), split)


def start_of(source: Cell | None, folder: Path) -> list[str]:
    """Return the argument that lets a run start from the full table of another cell, where that is trained.

    Args:
        source: The other cell.
        folder: Where the runs of the comparison are.
    """
    checkpoint = folder_of(source, folder) / FULL_CHECKPOINT if source else None
    return [f"--search.method.pretrain.checkpoint={checkpoint}"] if checkpoint and checkpoint.is_file() else []


def folder_of(cell: Cell, folder: Path) -> Path:
    """Return the folder of a cell's run among those of a comparison."""
    return folder / f"{cell.name}-{cell.key}"


def summary_table(comparison: Comparison, rows: Sequence[Row]) -> Table:
    """Return the test metrics of all rows, an axis a column."""
    columns = [*comparison.axes, "result", "start", "budget", "seed", "params", "recall@20", "ndcg@20"]
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in columns[-4:] else "left")
    for row in rows:
        table.add_row(*(row.get(column, "")[:8] if "@" in column else row.get(column, "") for column in columns))
    return table


def _parse(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, overrides = list(args), []
    if "--" in own:
        position = own.index("--")
        own, overrides = own[:position], own[position + 1 :]
    parser = argparse.ArgumentParser(prog="bet_lightning compare", description=__doc__, exit_on_error=False)
    parser.add_argument("file", type=Path, help="YAML file with base, axes and seeds")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"), help="folder of the cells' runs")
    parser.add_argument("--only", default="", help="part of the names of the cells to run, as in 'NeuMF-gowalla'")
    parser.add_argument("--list", action="store_true", help="name the missing cells and stop")
    parser.add_argument("--again", action="store_true", help="run cells that are done, too")
    parser.add_argument("--max-seconds", type=float, help="begin no further cell after so long")
    parser.add_argument("--report", action="store_true", help="run nothing: only draw picture and tables")
    try:
        options, unknown = parser.parse_known_args(own)
    except argparse.ArgumentError as error:
        raise ValueError(f"compare: {error}") from None
    if unknown:
        raise ValueError(f"compare: unknown arguments {' '.join(unknown)}; what follows -- is given to every fit")
    return options, [os.fspath(each) for each in overrides]
