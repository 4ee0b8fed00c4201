"""``python -m tests.benchmarks``: time ours against peers and floors, print one table and save it."""

import argparse
import json
import logging
import platform
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.benchmarks import evaluation, loading, sampling, steps
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row

GROUPS = {"loading": loading.run, "sampling": sampling.run, "steps": steps.run, "evaluation": evaluation.run}


def table_of(rows: Sequence[Row]) -> Table:
    """All rows; times in milliseconds."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    columns = ("work", "d", "batch", "threads", "ours ms", "rival", "rival ms", "ratio", "ours/floor", "MB", "per s")
    for column in columns:
        table.add_column(column, justify="left" if column in ("work", "rival") else "right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.d or ""),
            str(row.batch or ""),
            str(row.threads),
            f"{row.ours_s * 1e3:,.1f}",
            row.rival,
            f"{row.rival_s * 1e3:,.1f}" if row.rival_s is not None else "",
            f"{row.ratio:.2f}" if row.ratio is not None else "",
            f"{row.ours_s / row.floor_s:.2f}" if row.floor_s is not None else "",
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
    options = parser.parse_args(args)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    console, rows = Console(width=170), []
    before = torch.get_num_threads()
    try:
        for threads in options.threads:
            torch.set_num_threads(threads)
            bench = Bench(options.data, options.data_dir, options.rounds)
            for group in options.groups:
                for found in GROUPS[group](bench, threads):
                    rows += found
                    console.print(*(f"{row.name}, {row.threads} threads: {row.ours_s * 1e3:.1f} ms" for row in found))
    finally:
        torch.set_num_threads(before)
    console.print(table_of(rows))
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "torch": version("torch")}
        content = {"data": options.data, "machine": machine, "rows": [row.as_dict() for row in rows]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
