"""The run folder: what a search leaves on disk, written atomically and readable without this package."""

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bet_lightning import __version__
from bet_lightning.backbones import Backbone
from bet_lightning.budget import Dtype, format_bytes, packed_bytes
from bet_lightning.data import DataSplit
from bet_lightning.replacing import replacing
from bet_lightning.search import Action, PopularityProfile, Trial

Summary = dict[str, Any]


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the new content, never a part.

    Raises:
        ValueError: If it cannot be written, as where the disk is full.
    """
    with replacing(path) as partial:
        partial.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_actions(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write ``actions.jsonl``, one probed action a line."""
    write_text(folder / "actions.jsonl", "".join(json.dumps(record) + "\n" for record in records))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read ``actions.jsonl``.

    Raises:
        ValueError: If the file is missing or a line is not a probed action.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a search writes it as actions.jsonl into its run folder")
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            record = json.loads(line)
            Action.from_dict(record), float(record["fitness"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a probed action ({error!r})") from None
        records.append(record)
    return records


def read_actions(path: Path) -> tuple[list[Action], list[float]]:
    """Actions and their measured fitness from ``actions.jsonl``."""
    records = read_records(path)
    return [Action.from_dict(record) for record in records], [record["fitness"] for record in records]


def write_popularity(folder: Path, users: PopularityProfile, items: PopularityProfile) -> None:
    """Write ``popularity.json``: distinct training frequencies and how many rows have each."""
    sides = {"users": users, "items": items}
    profiles = {
        side: {"frequency": profile.frequency.tolist(), "rows": profile.starts.diff().tolist()}
        for side, profile in sides.items()
    }
    write_text(folder / "popularity.json", json.dumps(profiles) + "\n")


def read_popularity(folder: Path) -> tuple[PopularityProfile, PopularityProfile]:
    """Read ``popularity.json``: the users' and the items' profile.

    Raises:
        ValueError: If the file is missing or not what a search writes.
    """
    path = folder / "popularity.json"
    try:
        sides = json.loads(path.read_text())
        users, items = (
            PopularityProfile(
                torch.tensor(sides[side]["frequency"], dtype=torch.float64),
                torch.tensor([0, *sides[side]["rows"]], dtype=torch.int64).cumsum(0),
            )
            for side in ("users", "items")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the popularity file of a run ({error!r})") from None
    return users, items


def read_summary(folder: Path) -> Summary:
    """Read ``summary.json``.

    Raises:
        ValueError: If it is missing or not JSON.
    """
    path = folder / "summary.json"
    try:
        summary: Summary = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no finished run here, run `fit` first ({error})") from None
    return summary


def new_summary(backbone: Backbone, data: DataSplit, budgets: Mapping[int, Dtype], min_size: int, seed: int) -> Summary:
    """The content of ``summary.json`` before the first result.

    Args:
        backbone: The backbone.
        data: The split data.
        budgets: Budgets in parameters, and what their tables are to be stored as.
        min_size: Smallest size of a row.
        seed: Seed of the run.
    """
    full = backbone.num_rows * backbone.row_width
    listed = [
        {
            "params": cap,
            "bytes": _table_bytes(backbone, cap, min_size, dtype),
            "keep_ratio": cap / full,
            "dtype": dtype,
        }
        for cap, dtype in budgets.items()
    ]
    return {
        "dataset": data.statistics(),
        "backbone": type(backbone).__name__,
        "d_max": backbone.row_width,
        "budget": listed[0],
        "budgets": listed,
        "results": [],
        "search": {"probes": 0, "best_fitness": None, "seconds": 0.0, "seconds_to_begin": 0.0},
        "versions": {
            "bet_lightning": __version__,
            "torch": str(torch.__version__),
            "pytorch_lightning": version("pytorch_lightning"),
            "numpy": np.__version__,
        },
        "seed": seed,
    }


def new_result(summary: Summary, trial: Trial, name: str, checkpoint: str, backbone: Backbone) -> dict[str, Any]:
    """One entry of ``results``, from a finished training.

    Args:
        summary: Content of ``summary.json``.
        trial: The training.
        name: Name of the result.
        checkpoint: Its checkpoint's path within the run folder.
        backbone: What was trained.
    """
    params = int(trial.sizes.sum())
    dtypes: dict[int, Dtype] = {budget["params"]: budget["dtype"] for budget in summary["budgets"]}
    return {
        "name": name,
        "params": params,
        "budget": trial.cap,
        "bytes": _table_bytes(backbone, params, int(trial.sizes.min()), dtypes.get(trial.cap, "fp32")),
        "valid": trial.best_metrics,
        "test": {},
        "epochs": trial.epoch,
        "best_epoch": trial.best_epoch,
        "seconds": trial.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "checkpoint": checkpoint,
    }


def _table_bytes(backbone: Backbone, params: int, min_size: int, dtype: Dtype) -> int:
    rows, width, num_tables = backbone.num_rows, backbone.row_width, len(backbone.tables)
    return packed_bytes(params, rows, width, dtype=dtype, min_size=min_size, num_tables=num_tables)


def peak_memory_mb() -> float:
    """Largest memory of this process so far in MB: on the GPU if one is in use, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def results_table(summary: Summary, stage: str) -> Table:
    """The table of all results of a run.

    Args:
        summary: Content of ``summary.json``.
        stage: ``valid`` or ``test``: whose metrics to show.
    """
    dataset, budget = summary["dataset"], summary["budget"]
    others = len(summary["budgets"]) - 1
    title = (
        f"{dataset['name']}, {summary['backbone']}, d_max {summary['d_max']}: {budget['params']:,} parameters "
        f"({budget['keep_ratio']:.1%} of the full table){f' and {others} other budgets' if others else ''}, "
        f"{stage} metrics"
    )
    shown = [result for result in summary["results"] if result.get(stage)]
    names = list(shown[0][stage]) if shown else []
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    for column in ("table", "params", "bytes", *names, "s"):
        # recall and its cut-off on two lines, so that the table fits a terminal of 80 columns
        table.add_column(column.replace("@", "\n@"), justify="left" if column == "table" else "right", no_wrap=True)
    for result in shown:
        metrics = [f"{result[stage][name]:.4f}" for name in names]
        size = format_bytes(result["bytes"])
        table.add_row(result["name"], f"{result['params']:,}", size, *metrics, f"{result['seconds']:.0f}")
    return table
