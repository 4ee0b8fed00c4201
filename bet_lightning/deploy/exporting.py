"""Packs results of a run: what ``export --output`` does."""

import logging
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.budget import Dtype, format_bytes
from bet_lightning.data import DataSplit
from bet_lightning.modules import RecommenderModule
from bet_lightning.packing import byte_counts, describe, pack_tensors, rival_bytes, write_table
from bet_lightning.results import Summary, read_summary, write_json

log = logging.getLogger(__name__)


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint of a finished run's best table.

    Args:
        folder: The run folder.

    Raises:
        ValueError: If there is no finished run.
    """
    results = read_summary(folder)["results"]
    if not results:
        raise ValueError(f"{folder / 'summary.json'}: no finished run here, run `fit` first")
    preferred = {result["name"]: result["checkpoint"] for result in reversed(results)}
    return Path(folder / preferred.get("bet", results[-1]["checkpoint"]))


def pack_checkpoint(
    module: RecommenderModule, data: DataSplit, checkpoint: Path, output: Path, dtype: Dtype | None, history: bool
) -> None:
    """Pack the table of a checkpoint, and say where the bytes go: on the terminal and in the run's ``summary.json``.

    Args:
        module: Takes the checkpoint's weights; it is built on ``data``.
        data: The split data.
        checkpoint: One of the run's.
        output: Folder of the packed table.
        dtype: What values are stored as (default: what its budget counts).
        history: Whether to store what users have seen.

    Raises:
        ValueError: If the checkpoint is of another backbone or data, or the table cannot be written.
    """
    if checkpoint.is_dir():
        raise ValueError(f"--ckpt_path {checkpoint}: a packed table already")
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    network = module.network
    folder = checkpoint.resolve().parents[1]
    summary = read_summary(folder) if (folder / "summary.json").is_file() else {"results": [], "budgets": []}
    result = _find_result(summary, folder, checkpoint)
    cap = int(result.get("budget", network.num_used))
    dtypes: dict[int, Dtype] = {each["params"]: each.get("dtype", "fp32") for each in summary["budgets"]}
    dtype = dtype or dtypes.get(cap, "fp32")
    tensors = pack_tensors(network, data, dtype, history)
    counts = byte_counts(tensors)
    softmax = module.softmax
    header = {
        **describe(network, data, cap, dtype),
        "softmax": softmax and {"norm_power": softmax.norm_power, "popularity_power": softmax.popularity_power},
        "has_history": history,
        "result": {name: result.get(name) for name in ("name", "valid", "test")},
        "bytes": counts,
    }
    write_table(output, header, tensors)
    log.info("packed %s into %s", checkpoint, output)
    rivals = rival_bytes(network, cap, dtype)
    Console().print(bytes_table(counts, rivals, dtype))
    if result:
        result["packed"] = {"path": str(output), "dtype": dtype, "bytes": counts, "rivals": rivals}
        write_json(folder / "summary.json", summary)


def bytes_table(counts: dict[str, int], rivals: dict[str, int], dtype: Dtype) -> Table:
    """Where the bytes of a packed table go, beside other forms of the table alone."""
    table = Table(title=f"packed, {dtype}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("part")
    table.add_column("bytes", justify="right")
    table.add_column("", justify="right")
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}", format_bytes(count), end_section=name in ("seen", "total"))
    for name, count in rivals.items():
        table.add_row(f"the table as {name.replace('_', ' ')}", f"{count:,}", format_bytes(count))
    return table


def _find_result(summary: Summary, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """The result that a checkpoint is of, empty if there is none."""
    path = checkpoint.resolve()
    return next((found for found in summary["results"] if (folder / found["checkpoint"]).resolve() == path), {})
