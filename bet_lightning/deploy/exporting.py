"""Packs results of a run: what ``export --output`` does."""

import logging
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.budget import format_bytes
from bet_lightning.checkpoints import check_data, read_checkpoint
from bet_lightning.data import DataSplit
from bet_lightning.deploy.packing import byte_counts, describe, pack_tensors, rival_bytes, write_table
from bet_lightning.dtypes import Dtype
from bet_lightning.modules import RecommenderModule
from bet_lightning.runs.folder import SUMMARY, read_record, write_record
from bet_lightning.runs.records import ResultRecord, RunRecord
from bet_lightning.table_format import TableFormat

log = logging.getLogger(__name__)


def best_checkpoint(folder: Path) -> Path:
    """Return the checkpoint of a finished run's best table: the best on validation, whatever made it.

    Args:
        folder: The run folder.

    Raises:
        ValueError: If there is no finished run.
    """
    best = read_record(folder).best()
    if best is None:
        raise ValueError(f"{folder / SUMMARY}: no finished run here, run `fit` first")
    return folder / best.checkpoint


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
        ValueError: If the checkpoint is of another backbone or data, its table has no sizes, or it cannot be written.
    """
    if checkpoint.is_dir():
        raise ValueError(f"--ckpt_path {checkpoint}: a packed table already")
    loaded = read_checkpoint(checkpoint)
    check_data(loaded, data.hash)
    module.use_tables_of(loaded)
    module.load_state_dict(loaded["state_dict"])
    network = module.network
    if not network.has_prefix_tables:
        raise ValueError(f"--ckpt_path {checkpoint}: a {type(network.table()).__name__}, which has no packed form")
    folder = checkpoint.resolve().parents[1]
    record = read_record(folder) if (folder / SUMMARY).is_file() else None
    result = _find_result(record, folder, checkpoint)
    budget = next((each for each in record.budgets if result and each.name == result.budget), None) if record else None
    held = network.dtype
    dtype = dtype or (held if held != "fp32" or budget is None else budget.dtype or held)
    cap = budget.params if budget and budget.unit == "params" else network.num_used
    # what a user asks for otherwise may be larger
    counted = budget is not None and (budget.dtype or held) == dtype
    taken = TableFormat(dtype).num_bytes(network.shape, network.sizes.cpu())
    # what is beside a table depends on its form
    most = budget.bytes + budget.beside - result.beside if budget and result and counted else taken
    if taken > most:
        raise ValueError(f"--ckpt_path {checkpoint}: {taken} bytes as {dtype}, over its budget of {most}")
    tensors = pack_tensors(network, data, dtype, history)
    counts = byte_counts(tensors)
    powers = module.recommender.objective.item_powers
    header = {
        **describe(network, data, cap, most, dtype),
        "softmax": powers and powers._asdict(),
        "has_history": history,
        "result": {
            "name": result.name if result else None,
            "valid": dict(result.valid) if result else None,
            "test": dict(result.test) if result else None,
        },
        "bytes": counts,
    }
    write_table(output, header, tensors)
    log.info("packed %s into %s", checkpoint, output)
    rivals = rival_bytes(network, cap, dtype)
    Console().print(bytes_table(counts, rivals, dtype))
    if record and result:
        packed = {"path": str(output), "dtype": dtype, "bytes": counts, "rivals": rivals}
        results = (replace(each, packed=packed) if each.name == result.name else each for each in record.results)
        write_record(folder, replace(record, results=tuple(results)))


def bytes_table(counts: dict[str, int], rivals: dict[str, int], dtype: Dtype) -> Table:
    """Return where the bytes of a packed table go, beside other forms of the table alone."""
    table = Table(title=f"packed, {dtype}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("part")
    table.add_column("bytes", justify="right")
    table.add_column("", justify="right")
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}", format_bytes(count), end_section=name in ("seen", "total"))
    for name, count in rivals.items():
        table.add_row(f"the table as {name.replace('_', ' ')}", f"{count:,}", format_bytes(count))
    return table


def _find_result(record: RunRecord | None, folder: Path, checkpoint: Path) -> ResultRecord | None:
    """The result that a checkpoint is of, if there is one; the checkpoint of the best is another's too."""
    path = checkpoint.resolve()
    results = record.results if record else ()
    return next((found for found in results if (folder / found.checkpoint).samefile(path)), None)
