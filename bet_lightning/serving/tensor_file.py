"""Safetensors files as memory-mapped numpy arrays.

The safetensors library would copy the tensors, and numpy has no bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_DTYPES = {
    **{"F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I8": "|i1", "U8": "|u1", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8"},
}
_MAX_HEADER = 1 << 20


class Stored(NamedTuple):
    """One tensor of a file.

    Attributes:
        dtype: Name of its dtype in the file, such as ``F32``.
        array: Its values, read-only and mapped into memory. BF16 is given as its bits, in uint16.
    """

    dtype: str
    array: npt.NDArray[Any]


def map_tensors(path: Path) -> dict[str, Stored]:
    """Map the tensors of a safetensors file into memory.

    Args:
        path: The file.

    Returns:
        Tensors by name.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a safetensors file, or its tensors do not fill it without gaps.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    header.pop("__metadata__", None)
    # As a plain array, because slices of a memmap take several times as long.
    content = np.asarray(np.memmap(path, np.uint8, mode="r", offset=8 + length, shape=(size - 8 - length,)))
    end = 0
    found = {}
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        dtype = entry.get("dtype")
        shape = _shape(entry)
        first, last = _offsets(entry)
        if dtype not in _DTYPES:
            raise ValueError(f"tensor {name!r} has the dtype {dtype!r}, which is none of a table's")
        if first != end or last - first != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize or last > len(content):
            raise ValueError(f"tensor {name!r} is not where it is said to be")
        found[name] = Stored(dtype, content[first:last].view(_DTYPES[dtype]).reshape(shape))
        end = last
    if end != len(content):
        raise ValueError(f"{len(content) - end} bytes belong to no tensor")
    return found


def _offsets(entry: Any) -> tuple[int, int]:
    first, last = _integers(entry, "data_offsets")
    return first, last


def _shape(entry: Any) -> list[int]:
    return _integers(entry, "shape")


def _integers(entry: Any, name: str) -> list[int]:
    values = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f"a tensor's {name} are {values!r}")
    return values
