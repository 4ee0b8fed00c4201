"""What a header may say, given the tensors that are there: nothing is allocated that its file does not account for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.graph import has_pairs

MAX_LAYERS = 100  # of a graph; beyond a few, all vectors are alike
_LAYERS = "dense.layers"  # where a backbone keeps how many it has; older tables have no such tensor
OWN_WEIGHT = "dense.own_weight"  # of rows' own parameters in LightGCN; older tables have none
_MAX_SIZE, _MAX_COUNT = (1 << 15) - 1, (1 << 31) - 1
_FEW_ROWS, _ROWS_A_BYTE = 1 << 20, 64  # rows without values may take less than a bit each, where most are

Arrays = Mapping[str, npt.NDArray[Any]]


def check_counts(header: Mapping[str, Any], arrays: Arrays) -> None:
    """Refuse counts that are none, or larger than the tensors allow.

    Args:
        header: The header.
        arrays: All tensors by name.

    Raises:
        ValueError: If a count is out of range. What is missing raises other errors, as do values of other types.
    """
    backbone, dataset = header["backbone"], header["dataset"]
    tables, size, smallest = backbone["num_tables"], backbone["max_size"], header["smallest_size"]
    layers = backbone.get("num_layers", 0)
    counts = [dataset["users"], dataset["items"], tables, size]
    others = [smallest, layers, header["budget"]["params"]]  # may be 0
    if any(type(count) is not int for count in (*counts, *others)) or min(*counts, *(each + 1 for each in others)) < 1:
        raise ValueError("the header's counts are no counts")
    rows = dataset["users"] + dataset["items"]
    most_rows = max(_FEW_ROWS, _ROWS_A_BYTE * sum(array.nbytes for array in arrays.values()))
    if size > _MAX_SIZE or max(*counts, smallest) > _MAX_COUNT or layers > MAX_LAYERS or rows > most_rows:
        raise ValueError("the header's counts are too large")
    held = sum(name.startswith("values.") for name in arrays)
    if tables != held:
        raise ValueError(f"there are values of {held} tables, not of {tables}")
    if "sizes" not in arrays and smallest < 1:
        raise ValueError("all rows are of size 0")


def check_rest(header: Mapping[str, Any], arrays: Arrays) -> None:
    """Refuse what scoring needs beside the table where it is no number or does not fit the header.

    Args:
        header: The header, whose counts are sound.
        arrays: All tensors by name.

    Raises:
        ValueError: If dense weights, powers, popularity or the history are not what the header says.
    """
    for name, array in arrays.items():
        if name == _LAYERS:
            if array.dtype != np.int32 or array.shape != () or array != header["backbone"]["num_layers"]:
                raise ValueError(f"{name} is not the header's num_layers")
        elif name.startswith("dense.") and (array.dtype != np.float32 or not np.isfinite(array).all()):
            raise ValueError(f"{name} is no weight: it has {array.dtype} values, not all of them finite float32")
        elif name == OWN_WEIGHT and (array.shape != () or not 0 <= array <= 1):
            raise ValueError(f"{name} is {array}, which is no weight")
    powers = header["softmax"]
    if powers is not None and not all(0 <= powers[name] <= 1 for name in ("norm_power", "popularity_power")):
        raise ValueError(f"powers of the softmax are not in [0, 1]: {powers}")
    if type(header["has_history"]) is not bool or (header["has_history"] and not has_pairs("history", arrays)):
        raise ValueError("has_history does not fit the tensors")
    popularity, items = arrays.get("popularity"), header["dataset"]["items"]
    if popularity is not None and (popularity.dtype.kind not in "iu" or popularity.shape != (items,)):
        raise ValueError("popularity has other items than the table")
