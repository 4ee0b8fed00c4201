"""From a trained backbone to the files of a packed table, and back to its weights."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.data import DataSplit
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.serving.bounds import MAX_LAYERS
from bet_lightning.serving.digits import pack_digits
from bet_lightning.serving.graph import pack_pairs
from bet_lightning.serving.header import HEADER, finite, header_text
from bet_lightning.serving.ids import pack_ids, smallest_dtype
from bet_lightning.serving.packed_table import TENSORS, VERSION, PackedTable
from bet_lightning.serving.rows import row_order
from bet_lightning.serving.sizes import pack_sizes, sizes_by_number
from bet_lightning.table_format import TableFormat, coarsest_grid
from bet_lightning.tables.masked import size_dtype
from bet_lightning.tables.prefix_table import PrefixTable
from bet_lightning.tables.prefixes import pack
from bet_lightning.tables.quantized import QuantizedEmbedding

Arrays = dict[str, npt.NDArray[Any]]

_TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_REFIT_POWER = "dense.refit_power"  # in tables that version 0.1 exported; no weight of a backbone any more
_PARTS = {  # of the bytes of a packed table, and what their tensors' names begin with
    "values": ("values.",),
    "steps": ("steps.", "columns.", "scales."),
    "sizes": ("sizes", "filled"),
    "ids": ("user_ids", "item_ids"),
    "dense_weights": ("dense.",),
    "graph": ("graph.",),
    "seen": ("history.", "popularity"),
}


def pack_tensors(network: Backbone, data: DataSplit, dtype: Dtype, history: bool = True) -> dict[str, Tensor]:
    """Return what a packed table stores of a backbone and its data.

    Args:
        network: The backbone; its masked entries are left out.
        data: The split data that it was trained on.
        dtype: What values are stored as.
        history: Whether to store what users are known to have interacted with.

    Returns:
        Tensors by name.

    Raises:
        ValueError: If a value is beyond the dtype.
    """
    sizes = network.sizes.cpu().numpy()
    users, items = row_order(sizes[: network.num_users]), row_order(sizes[network.num_users :])
    order = torch.from_numpy(np.concatenate([users, network.num_users + items]).astype(np.int64))
    tensors: dict[str, Tensor] = {}
    filled = order[torch.from_numpy(sizes).long()[order] > 0]
    for index in range(len(network.tables)):
        table = network.prefix_table(index)
        if dtype in LEVELS:
            tensors |= _pack_levels(index, quantized(table, dtype), order, filled, network.num_users)
        else:
            tensors |= _pack_values(index, table().detach().cpu()[order], table.sizes.cpu()[order], dtype)
    arrays: Arrays = {}
    if sizes.min() < sizes.max() and dtype in LEVELS:
        grid, odd = _grid_of(network.sizes, network.row_width)
        arrays |= pack_sizes(sizes, sizes_by_number(network.row_width, grid, odd))
    elif sizes.min() < sizes.max():
        arrays["sizes"] = (sizes - sizes.min()).astype(smallest_dtype(int(sizes.max() - sizes.min())))
    beside = tensors_beside(network, data, history, network.rebuilds_rows)
    return tensors | _as_tensors(arrays) | id_tensors(data) | beside


def id_tensors(data: DataSplit) -> dict[str, Tensor]:
    """Return what a packed table stores of ids; nothing where they are rows' numbers."""
    return _as_tensors(pack_ids("user_ids", data.user_ids) | pack_ids("item_ids", data.item_ids))


def tensors_beside(network: Backbone, data: DataSplit, history: bool, rebuilds_rows: bool) -> dict[str, Tensor]:
    """Return what a packed table stores beside tables and ids: dense weights, the graph, what users have seen.

    Args:
        network: The backbone.
        data: The split data that it was trained on.
        history: Whether to store what users are known to have interacted with.
        rebuilds_rows: Whether rows are rebuilt from their neighbours in the graph.
    """
    weights = network.state_dict().items()
    dense = {f"dense.{name}": value.cpu().contiguous() for name, value in weights if not name.startswith("tables.")}
    arrays: Arrays = {}
    known = data.train.union(data.valid).union(data.test) if history else data.train
    if rebuilds_rows:
        arrays |= pack_pairs("graph", data.train.degrees(), data.train.indices, data.num_items)
        known = known.difference(data.train)
    else:
        popularity = data.item_frequency
        arrays["popularity"] = popularity.astype(smallest_dtype(int(popularity.max())))
    if history:
        arrays |= pack_pairs("history", known.degrees(), known.indices, data.num_items)
    return dense | _as_tensors(arrays)


def bytes_beside(network: Backbone, data: DataSplit, rebuilds_rows: bool, history: bool) -> int:
    """Return the bytes of :func:`tensors_beside`: what a deployment loads beside the table, ids apart."""
    return sum(value.nbytes for value in tensors_beside(network, data, history, rebuilds_rows).values())


def _as_tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def describe(network: Backbone, data: DataSplit, cap: int, most: int, dtype: Dtype) -> dict[str, Any]:
    """Return what the header of a packed table says of a backbone, its data and its budget, in plain values.

    Args:
        network: The backbone, masked.
        data: The split data.
        cap: Its budget in parameters.
        most: Its budget in bytes.
        dtype: What values are stored as.

    Raises:
        ValueError: If the backbone has more layers than a packed table may have.
    """
    sizes, shape = network.sizes.cpu(), network.shape
    grid, odd = _grid_of(sizes, shape.width)
    settings = {name: getattr(network, name) for name in network.scoring_settings}
    if settings.get("num_layers", 0) > MAX_LAYERS:
        raise ValueError(f"{settings['num_layers']} layers cannot be packed, at most {MAX_LAYERS} can")
    backbone = {"name": type(network).__name__, "max_size": network.max_size, "num_tables": shape.num_tables}
    return {
        "dataset": {"name": data.name, "users": data.num_users, "items": data.num_items, "hash": data.hash},
        "backbone": backbone | settings,
        "budget": {"params": cap, "bytes": most, "keep_ratio": cap / shape.params},
        "dtype": dtype,
        "smallest_size": int(sizes.min()),
        "size_grid": grid,
        "odd_size": odd,
    }


def _grid_of(sizes: Tensor, width: int) -> tuple[int, int]:
    """Return the coarsest grid that sizes lie on except for one row, and the size of that row, 0 if there is none."""
    grid = coarsest_grid(sizes, width)
    return grid, int((sizes * (sizes % grid != 0)).max())


def quantized(table: PrefixTable, dtype: Dtype) -> QuantizedEmbedding:
    """Return a table in a dtype of levels: itself if it is held so, else what its values are rounded to."""
    if isinstance(table, QuantizedEmbedding) and table.dtype == dtype:
        return table
    return QuantizedEmbedding.from_masked(table.to_masked(), dtype)


def _pack_levels(
    index: int, table: QuantizedEmbedding, order: Tensor, filled: Tensor, num_users: int
) -> dict[str, Tensor]:
    """Words of the numbers of levels of one table, column after column of the users and then of the items, and steps.

    Args:
        index: Number of the table.
        table: The table.
        order: ``(num_rows,)`` int64, its rows in the order of the file.
        filled: Those that have values, in the same order.
        num_users: How many of the rows are users.
    """
    if not table.weight.isfinite().all():
        raise ValueError("a table with values that are no numbers cannot be packed")
    numbers, sizes = table.numbers().cpu()[order], table.sizes.cpu().long()[order]
    kept = torch.arange(numbers.shape[1]) < sizes.unsqueeze(1)
    columns = [numbers[side].T[kept[side].T] for side in (slice(num_users), slice(num_users, None))]
    words = pack_digits(torch.cat(columns).numpy(), LEVELS[table.dtype])
    return {
        f"values.{index}": torch.from_numpy(words),
        f"steps.{index}": table.steps.cpu()[filled],
        f"columns.{index}": table.columns.cpu(),
    }


def _pack_values(index: int, weight: Tensor, sizes: Tensor, dtype: Dtype) -> dict[str, Tensor]:
    """Values of one table as floats, whose rows are in the order of the file."""
    if not weight.isfinite().all():
        raise ValueError("a table with values that are no numbers cannot be packed")
    values = pack(weight, sizes).to(_TORCH_DTYPES[dtype])
    if not values.isfinite().all():
        raise ValueError(f"dtype {dtype} cannot hold values up to {float(weight.abs().max()):.3g}: take bf16 or fp32")
    return {f"values.{index}": values}


def byte_counts(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return bytes of a packed table's tensors by what they are for, and their total."""
    counts = {
        part: sum(value.nbytes for name, value in tensors.items() if name.startswith(prefixes))
        for part, prefixes in _PARTS.items()
    }
    return counts | {"total": sum(counts.values())}


def rival_bytes(network: Backbone, cap: int, dtype: Dtype) -> dict[str, int]:
    """Return bytes that the table alone would take in other forms.

    Args:
        network: The backbone, masked.
        cap: Its budget in parameters.
        dtype: What values are stored as.

    Returns:
        ``dense_fp32`` with all its columns, ``csr_fp32``: scipy's CSR of the masked tables with 4-byte indices, and
        ``uniform``: as many whole columns for every row as the budget allows, in the same dtype.
    """
    tables, rows = len(network.tables), network.num_rows
    return {
        "dense_fp32": 4 * rows * network.row_width,
        "csr_fp32": 8 * network.num_used + 4 * (rows + 1) * tables,
        "uniform": TableFormat(dtype).num_bytes(network.shape, torch.full((rows,), cap // rows)),
    }


def write_table(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a packed table, in place of one that is there.

    Args:
        path: Its folder.
        header: What describes it, besides version and checksums.
        tensors: What :func:`pack_tensors` made.

    Raises:
        ValueError: If the folder holds something else or cannot be written. A table that was there before then stays.
    """
    check_output(path)
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        partial, old = aside / "new", aside / "old"
        partial.mkdir()
        save_file(dict(tensors), partial / TENSORS)
        with (partial / TENSORS).open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        described = {"bytes": (partial / TENSORS).stat().st_size, "sha256": checksum}
        whole = {**finite(header), "version": VERSION, "tensors": described}
        (partial / HEADER).write_text(header_text(whole), "utf-8")
        (partial / TENSORS).chmod((partial / HEADER).stat().st_mode)  # the library lets nobody else read it
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"--output {path}: cannot be written ({str(error).splitlines()[0]})") from error
    finally:
        if aside and not path.exists() and (aside / "old").exists():
            (aside / "old").rename(path)
        if aside:
            shutil.rmtree(aside, ignore_errors=True)


def check_output(path: Path) -> None:
    """Refuse to put a table in the place of something else.

    Raises:
        ValueError: If anything but a packed table's folder has that name: a file, a link, a device, another folder.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir() or {each.name for each in path.iterdir()} != {HEADER, TENSORS}:
        raise ValueError(f"--output {path}: holds something else than a packed table, which is not to be lost")


def read_weights(table: PackedTable) -> dict[str, Tensor]:
    """Return the weights and sizes of a backbone with masked tables, as its ``state_dict`` has them.

    Args:
        table: The packed table.
    """
    size = int(table.header["backbone"]["max_size"])
    state = {}
    for index in range(table.num_tables):
        weight = np.zeros((table.num_users + table.num_items, size), np.float32)
        for first, rows in zip((0, table.num_users), table.rows(index), strict=True):
            for places, values in rows.groups():
                weight[first + rows.order[places], : values.shape[1]] = values
        state[f"tables.{index}.weight"] = torch.from_numpy(weight)
        sizes = torch.from_numpy(table.table_sizes(index))
        state[f"tables.{index}.sizes"] = sizes.to(size_dtype(size))
    for name, array in table.arrays.items():
        if name.startswith("dense.") and name != _REFIT_POWER:
            state[name.removeprefix("dense.")] = torch.from_numpy(np.array(array))
    return state
