"""``python -m tests.benchmarks``: time ours against peers and floors, print one table and save it."""

import argparse
import json
import logging
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.benchmarks import evaluation, loading, sampling, steps
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row

Benchmark = Callable[[Bench, int], list[Row]]
GROUPS: dict[str, Mapping[str, Benchmark]] = {
    "loading": loading.WORKS,
    "sampling": sampling.WORKS,
    "steps": steps.WORKS,
    "evaluation": evaluation.WORKS,
}


def table_of(rows: Sequence[Row]) -> Table:
    """All rows; times in milliseconds."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    columns = (
        "work",
        "d",
        "batch",
        "threads",
        "ours ms",
        "±%",
        "rival",
        "rival ms",
        "ratio",
        "ours/floor",
        "MB",
        "per s",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("work", "rival") else "right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.d or ""),
            str(row.batch or ""),
            str(row.threads),
            f"{row.ours_s * 1e3:,.1f}",
            f"{50 * row.spread:.0f}",
            row.rival,
            f"{row.rival_s * 1e3:,.1f}" if row.rival_s is not None else "",
            "machine was busy" if row.refused else f"{row.ratio:.2f}" if row.ratio is not None else "",
            f"{row.floor_ratio:.2f}" if row.floor_ratio is not None else "",
            f"{row.peak_memory_mb:,.0f}",
            f"{row.per_s:,.0f}" if row.per_s is not None else "",
        )
    return table


def main(args: Sequence[str] | None = None) -> list[Row]:
    """Run benchmarks.

    Args:
        args: Arguments (default: those of the process).
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--data", default="synthetic", help="data set; default: a synthetic graph of Gowalla's shape")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="thread counts to measure at")
    parser.add_argument("--rounds", type=int, default=7, help="counted runs of each contestant")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="what to measure")
    parser.add_argument("--again", action="store_true", help="measure only what --json refused: the machine was busy")
    options = parser.parse_args(args)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    before = torch.get_num_threads()
    works = [(name, work) for group in options.groups for name, work in GROUPS[group].items()]
    wanted = [(name, threads, work) for threads in options.threads for name, work in works]
    rows: dict[tuple[str, int], list[Row]] = read_rows(options.json) if options.again else {}
    if options.again:
        refused = {key for key, found in rows.items() if any(row.refused for row in found)}
        wanted = [each for each in wanted if each[:2] in refused]
    console, bench = Console(width=170), Bench(options.data, options.data_dir, options.rounds)
    try:
        for name, threads, work in wanted:
            torch.set_num_threads(threads)
            found = rows[name, threads] = work(bench, threads)
            console.print(*(f"{row.name}, {row.threads} threads: {row.ours_s * 1e3:.1f} ms" for row in found))
            if options.json:
                write_rows(options.json, options.data, rows)
    finally:
        torch.set_num_threads(before)
    shown = [row for found in rows.values() for row in found]
    console.print(table_of(shown))
    if any(row.refused for row in shown):
        console.print("the machine was busy during some rows: --again measures them, and nothing else, again")
    return shown


def write_rows(path: Path, data: str, rows: Mapping[tuple[str, int], Sequence[Row]]) -> None:
    """Write rows to a JSON file, each with the name of its benchmark."""
    machine = {"processor": platform.processor() or platform.machine(), "torch": version("torch")}
    named = [{"benchmark": name, **row.as_dict()} for (name, _), found in rows.items() for row in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": data, "machine": machine, "rows": named}, indent=2) + "\n")


def read_rows(path: Path) -> dict[tuple[str, int], list[Row]]:
    """Read what :func:`write_rows` wrote, by benchmark and threads."""
    rows: dict[tuple[str, int], list[Row]] = {}
    for values in json.loads(path.read_text())["rows"]:
        row = Row(**{name: values[name] for name in Row.__dataclass_fields__})
        rows.setdefault((values["benchmark"], row.threads), []).append(row)
    return rows


if __name__ == "__main__":
    main()
