"""``python -m bet_lightning compare FILE``: runs the missing cells of a table and writes its CSV."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.budget import format_bytes
from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.entries import entries_of
from bet_lightning.compare.heat_map import relative_plot
from bet_lightning.compare.page import render_comparison
from bet_lightning.compare.plots import tradeoff_plot
from bet_lightning.compare.processes import Command
from bet_lightning.compare.rows import Row, is_done, read_rows
from bet_lightning.compare.running import CellRunner
from bet_lightning.compare.significance import compare_entries, read_pairs, write_pairs
from bet_lightning.compare.tables import side_by_side
from bet_lightning.compare.users import CellUsers
from bet_lightning.runs.dashboards import group_runs
from bet_lightning.runs.folder import write_text

log = logging.getLogger(__name__)


def compare(args: Sequence[str], command: Command) -> int:
    """Run the missing cells of a comparison, and write its tables and pictures.

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
    rows = read_rows(comparison.table)
    cells = [cell for cell in comparison.cells if options.only in cell.name]
    missing = [cell for cell in cells if options.again or not is_done(cell, rows)]
    log.info("%s: %d cells, %d of them missing", options.file, len(cells), len(missing))
    if options.list:
        for cell in missing:
            log.info("%s", cell.name)
        return 0
    group_runs(options.file.stem)
    runs = options.runs / options.file.stem
    runner = CellRunner(comparison, runs, overrides, options.max_seconds)
    if not options.report:
        if options.jobs == 1:
            runner.run_here(missing, command)
        else:
            runner.run_in_parallel(missing, options.jobs)
    if runner.left:
        log.info("%d cells are left: no further one is begun after %g s", runner.left, options.max_seconds)
    rows = read_rows(comparison.table)
    Console().print(summary_table(comparison, rows))
    report(comparison, rows, runs)
    if runner.failed:
        log.error("failed: %s", ", ".join(runner.failed))
    return 1 if runner.failed else 0


def report(comparison: Comparison, rows: Sequence[Row], runs: Path) -> None:
    """Write a comparison's tables and pictures beside it, and the CSV of what was compared user by user.

    Args:
        comparison: The comparison.
        rows: Its rows.
        runs: Folder of its runs; those that are there tell what users reached.
    """
    path, axes = comparison.path, comparison.axes
    written = [comparison.table]
    entries = entries_of(rows, axes)
    compared = path.with_suffix(".significance.csv")
    pairs = compare_entries(entries, CellUsers(comparison, runs), read_pairs(compared, axes))
    if write_pairs(compared, axes, pairs):
        written.append(compared)
    grid = side_by_side(entries, axes, pairs)
    published = read_rows(comparison.published) if comparison.published else []
    plots = {".png": tradeoff_plot(rows), ".published.png": relative_plot(entries, axes, published)}
    drawn = {suffix: plot for suffix, plot in plots.items() if plot}
    for suffix, plot in drawn.items():
        plot.save(path.with_suffix(suffix))
    page = render_comparison(comparison, rows, entries, pairs, list(drawn.values()), runs)
    texts = {".md": grid.markdown(), ".tex": grid.latex(), ".html": page}
    for suffix, text in texts.items():
        write_text(path.with_suffix(suffix), text)
    written += [path.with_suffix(suffix) for suffix in (*texts, *drawn)]
    log.info("results: %s", ", ".join(map(str, written)))


def summary_table(comparison: Comparison, rows: Sequence[Row]) -> Table:
    """Return the test metrics of all rows, with a column for whatever sets rows apart, so that it fits 80 columns."""
    rows = [{**row, "result": f"{row['result']} {row.get('start', '')}".strip()} for row in rows]
    columns = [*comparison.axes, "result", "budget", "seed"]
    columns = [column for column in columns if len({row.get(column, "") for row in rows}) > 1]
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, title=comparison.path.stem, title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for column in ("bytes", "recall@20", "ndcg@20"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        size = format_bytes(int(row["bytes"])) if row.get("bytes") else ""
        metrics = (f"{float(row[name]):.4f}" if row.get(name) else "" for name in ("recall@20", "ndcg@20"))
        table.add_row(*(row.get(column, "") for column in columns), size, *metrics)
    return table


def _parse(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, overrides = list(args), []
    if "--" in own:
        position = own.index("--")
        own, overrides = own[:position], own[position + 1 :]
    parser = argparse.ArgumentParser(prog="bet_lightning compare", description=__doc__, exit_on_error=False)
    parser.add_argument("file", type=Path, help="YAML file with base, axes, seeds, published")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"), help="folder of the cells' runs")
    parser.add_argument("--only", default="", help="part of the names of the cells to run, as in 'NeuMF-gowalla'")
    parser.add_argument("--list", action="store_true", help="name the missing cells and stop")
    parser.add_argument("--again", action="store_true", help="run cells that are done, too")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once, each in a process on a device of its own")
    parser.add_argument("--max-seconds", type=float, help="begin no further cell after so long")
    parser.add_argument("--report", action="store_true", help="run nothing: only draw pictures and tables")
    try:
        options, unknown = parser.parse_known_args(own)
    except argparse.ArgumentError as error:
        raise ValueError(f"compare: {error}") from None
    if options.jobs < 1:
        raise ValueError(f"compare: --jobs must be at least 1, got {options.jobs}")
    if unknown:
        raise ValueError(f"compare: unknown arguments {' '.join(unknown)}; what follows -- is given to every fit")
    return options, [os.fspath(each) for each in overrides]
