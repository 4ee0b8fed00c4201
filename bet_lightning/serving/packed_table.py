"""The files of a packed table: a header, and tensors that are checked and mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.serving.bounds import check_counts, check_rest
from bet_lightning.serving.digits import check_digits
from bet_lightning.serving.graph import Neighbours, has_pairs, unpack_pairs
from bet_lightning.serving.header import HEADER, file_size, read_header, sound
from bet_lightning.serving.ids import RawIds, unpack_ids
from bet_lightning.serving.level_rows import LevelRows
from bet_lightning.serving.rows import PackedRows, row_order, to_float
from bet_lightning.serving.sizes import sizes_by_number, unpack_sizes
from bet_lightning.serving.tensor_file import Stored, map_tensors

VERSION = 2
OLD_VERSION = 1  # had tables of floats, and of int8 with float16 scales
TENSORS = "table.safetensors"
STORED_AS: dict[Dtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "int8": "I8"}
_VALUES_AT_ONCE = 1 << 20
_NO_SIZES = Stored("U8", np.empty(0, np.uint8))


@dataclass(frozen=True, eq=False)
class PackedTable:
    """A packed table as it is on disk.

    Attributes:
        header: Description of the table, in plain JSON values.
        tensors: Tensors by name, mapped into memory.
    """

    header: Mapping[str, Any]
    tensors: Mapping[str, Stored]

    @classmethod
    def load(cls, path: str | Path) -> PackedTable:
        """Open a packed table and check all of it.

        Args:
            path: Folder of the table.

        Raises:
            ValueError: If a file is missing, truncated, altered, of another version or over its budget.
        """
        folder = Path(path)
        with sound(folder):
            header = read_header(folder / HEADER)
            if header["version"] not in (OLD_VERSION, VERSION):
                raise ValueError(f"version {header['version']!r}, this is a reader of versions up to {VERSION}")
            described = header["tensors"]
            tensors = folder / TENSORS
            if (size := file_size(tensors)) != described["bytes"]:
                raise ValueError(f"{TENSORS} has {size} bytes, not {described['bytes']}: truncated?")
            with tensors.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != described["sha256"]:
                    raise ValueError(f"{TENSORS} was altered")
            table = cls(header, map_tensors(tensors))
            table._check()
            return table

    @property
    def dtype(self) -> Dtype:
        """Dtype that the values are stored in."""
        dtype: Dtype = self.header["dtype"]
        return dtype

    @property
    def num_users(self) -> int:
        """Number of users."""
        return int(self.header["dataset"]["users"])

    @property
    def num_items(self) -> int:
        """Number of items."""
        return int(self.header["dataset"]["items"])

    @property
    def num_tables(self) -> int:
        """Number of tables of the backbone."""
        return int(self.header["backbone"]["num_tables"])

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """``(num_users + num_items,)`` int64, parameters of each row summed over all tables, users first."""
        num_rows = self.num_users + self.num_items
        if "sizes" not in self.tensors:
            return np.full(num_rows, self.header["smallest_size"], np.int64)
        if not self.has_levels:
            return self.tensors["sizes"].array.astype(np.int64) + int(self.header["smallest_size"])
        width = self.num_tables * int(self.header["backbone"]["max_size"])
        by_number = sizes_by_number(width, self.header["size_grid"], self.header["odd_size"])
        return unpack_sizes(self.arrays, num_rows, self.arrays["steps.0"].size, by_number)

    @property
    def has_levels(self) -> bool:
        """Whether values are numbers of levels, rather than floats or version 1's int8."""
        return self.header["version"] == VERSION and self.dtype in LEVELS

    def table_sizes(self, table: int) -> npt.NDArray[np.int64]:
        """Return the parameters of each row in one of the tables, ``(num_users + num_items,)`` int64.

        The tables share a row's parameters evenly; those left over go to the first tables.
        """
        return (self.sizes + self.num_tables - 1 - table) // self.num_tables

    @cached_property
    def orders(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Row numbers of users and of items in the order of the file, which all tables share."""
        return row_order(self.sizes[: self.num_users]), row_order(self.sizes[self.num_users :])

    def rows(self, table: int = 0) -> tuple[PackedRows, PackedRows]:
        """Return the rows of users and of items in one of the tables."""
        sizes = self.table_sizes(table)
        if self.has_levels:
            return self._level_rows(table, sizes)
        values = self.arrays[f"values.{table}"]
        scales = self.arrays.get(f"scales.{table}")
        middle = int(sizes[: self.num_users].sum())
        sides = (slice(self.num_users), slice(self.num_users, None)), (slice(middle), slice(middle, None))
        users, items = (
            PackedRows(values[part], sizes[side], order, self.dtype, None if scales is None else scales[side])
            for side, part, order in zip(*sides, self.orders, strict=True)
        )
        return users, items

    def _level_rows(self, table: int, sizes: npt.NDArray[np.int64]) -> tuple[PackedRows, PackedRows]:
        """The rows of a table of levels: a table's numbers are the users' columns, then the items'."""
        levels = LEVELS[self.dtype]
        sides = slice(self.num_users), slice(self.num_users, None)
        filled = int((self.sizes[sides[0]] > 0).sum())
        steps = self.arrays[f"steps.{table}"]
        first = int(sizes[sides[0]].sum())
        scales = self.arrays[f"columns.{table}"]
        words = self.arrays[f"values.{table}"]
        users, items = self.orders
        return (
            LevelRows(words, levels, 0, sizes[sides[0]], users, steps[:filled], scales),
            LevelRows(words, levels, first, sizes[sides[1]], items, steps[filled:], scales),
        )

    def dense(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """Return a dense weight of the backbone.

        Args:
            name: Name of the weight in the backbone.
            shape: Shape that it must have; -1 stands for any length.

        Raises:
            KeyError: If there is no weight of this name.
            ValueError: If the weight has another shape.
        """
        weight: npt.NDArray[np.float32] = self.arrays[f"dense.{name}"]
        if len(weight.shape) != len(shape) or any(want not in (-1, got) for want, got in zip(shape, weight.shape)):  # noqa: B905
            raise ValueError(f"the weight {name} has the shape {weight.shape}, not {shape}")
        return weight

    @cached_property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of all tensors by name."""
        return {name: stored.array for name, stored in self.tensors.items()}

    def pairs(self, name: str) -> Neighbours | None:
        """Return the stored pairs of users and items.

        Args:
            name: ``graph`` or ``history``.

        Returns:
            ``(num_users, num_items)`` neighbours, or None if the table has none of this name.

        Raises:
            ValueError: If they do not fit the table, or are not sorted.
        """
        if not has_pairs(name, self.tensors):
            return None
        return unpack_pairs(name, self.arrays, self.num_users, self.num_items)

    def ids(self) -> tuple[RawIds, RawIds]:
        """Return the ids of users and of items.

        Raises:
            ValueError: If they do not fit the table, or are not sorted.
        """
        return (
            unpack_ids("user_ids", self.arrays, self.num_users),
            unpack_ids("item_ids", self.arrays, self.num_items),
        )

    def _check(self) -> None:
        """Check that everything fits together and stays within the budget.

        Raises:
            ValueError: If it does not. A header or a tensor that is missing raises other errors: see :func:`sound`.
        """
        check_counts(self.header, self.arrays)
        width = self.num_tables * int(self.header["backbone"]["max_size"])
        num_rows, cap = self.num_users + self.num_items, self.header["budget"]["params"]
        if not self.has_levels and (
            self.dtype not in STORED_AS or self.tensors.get("sizes", _NO_SIZES).dtype not in ("U8", "U16")
        ):
            raise ValueError("values or sizes are of another dtype")
        sizes = self.sizes
        params = int(sizes.sum())
        if len(sizes) != num_rows or sizes.max() > width:
            raise ValueError(f"sizes are not {num_rows} of at most {width}")
        if params > cap:
            raise ValueError(f"{params} parameters are over the budget of {cap}")
        most = self.header["budget"]["bytes"]
        if self.has_levels and (taken := self.table_bytes) > most:
            raise ValueError(f"{taken} bytes are over the budget of {most}")
        for table in range(self.num_tables):
            self._check_values(table, int(self.table_sizes(table).sum()), num_rows)
        self.ids()
        for name in ("graph", "history"):
            self.pairs(name)
        check_rest(self.header, self.arrays)

    @property
    def table_bytes(self) -> int:
        """Bytes of the embedding table: values, steps, scales and sizes."""
        parts = ("values.", "steps.", "columns.", "scales.", "sizes", "filled")
        return sum(array.nbytes for name, array in self.arrays.items() if name.startswith(parts))

    def _check_values(self, table: int, count: int, num_rows: int) -> None:
        values = self.tensors[f"values.{table}"]
        if self.has_levels:
            check_digits(values.array, LEVELS[self.dtype], count)
            steps, filled = self.tensors[f"steps.{table}"], int((self.sizes > 0).sum())
            if steps.dtype != "U8" or steps.array.shape != (filled,):
                raise ValueError(f"steps.{table} are {steps.array.shape} of {steps.dtype}, not one a row with values")
            scales, size = self.tensors[f"columns.{table}"], int(self.header["backbone"]["max_size"])
            if scales.dtype != "U8" or scales.array.shape != (size,):
                raise ValueError(f"columns.{table} are {scales.array.shape} of {scales.dtype}, not {size}")
            return
        if values.dtype != STORED_AS[self.dtype] or values.array.shape != (count,):
            raise ValueError(f"values.{table} are {values.array.shape} of {values.dtype}, not {count} of {self.dtype}")
        checked = [values.array] if self.dtype != "int8" else []
        if self.dtype == "int8":
            scales = self.tensors[f"scales.{table}"]
            if scales.dtype != "F16" or scales.array.shape != (num_rows,):
                raise ValueError(f"scales.{table} are {scales.array.shape} of {scales.dtype}, not one a row")
            checked.append(scales.array)
        for array in checked:
            for start in range(0, len(array), _VALUES_AT_ONCE):
                kind = self.dtype if array is values.array else "fp16"
                if not np.isfinite(to_float(array[start : start + _VALUES_AT_ONCE], kind)).all():
                    raise ValueError(f"values.{table} are not all finite")
