"""Encoding of the ids in files as row numbers, with one vocabulary for all files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.csr import sort_unique
from bet_lightning.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class RawTable:
    """Interactions of one file or frame, with the ids as it has them.

    Attributes:
        users: ``(n,)`` int64 or object (str).
        items: ``(n,)`` int64 or object (str).
        times: ``(n,)`` float64, or None.
        listed_users: ``(m,)`` users that the file names, with or without interactions.
        row_numbers: Whether integer ids may be row numbers, as in adjacency lists.
    """

    users: npt.NDArray[Any]
    items: npt.NDArray[Any]
    times: npt.NDArray[np.float64] | None
    listed_users: npt.NDArray[Any]
    row_numbers: bool


def encode_interactions(tables: Sequence[RawTable]) -> list[Interactions]:
    """Replace ids by row numbers, with one vocabulary for all tables.

    A vocabulary holds the sorted unique ids. For adjacency lists with dense ids, it holds the whole range instead, so
    that an id is its row number. Ids are dense if they start at 0 and at least half of the range occurs.

    Args:
        tables: The files of one data set.

    Returns:
        The interactions of each table, repeated pairs merged. All share ``user_ids`` and ``item_ids``.
    """
    row_numbers = all(table.row_numbers for table in tables)
    user_columns = [table.users for table in tables] + [table.listed_users for table in tables]
    user_ids, users = _encode(user_columns, row_numbers)
    item_ids, items = _encode([table.items for table in tables], row_numbers)
    return [
        Interactions.from_pairs(users[index], items[index], user_ids, item_ids, table.times)
        for index, table in enumerate(tables)
    ]


def _encode(
    columns: Sequence[npt.NDArray[Any]], row_numbers: bool
) -> tuple[npt.NDArray[Any], list[npt.NDArray[np.int64]]]:
    """Return the vocabulary of several id columns, and each column as int64 row numbers of it."""
    integers = all(column.dtype.kind == "i" for column in columns)
    if not integers:  # a file of integers beside one of strings: compare them as strings
        columns = [c.astype(str).astype(object) if c.dtype.kind == "i" else c for c in columns]
    values = np.concatenate(columns)
    if integers and row_numbers and _is_dense(values):
        vocabulary: npt.NDArray[Any] = np.arange(values.max() + 1, dtype=np.int64)
        codes: npt.NDArray[np.int64] = values
    else:
        series = pl.Series(values, dtype=pl.Int64 if integers else pl.String)
        unique = series.unique().sort()
        rows = pl.arange(len(unique), eager=True)
        vocabulary = unique.to_numpy()
        codes = series.replace_strict(unique, rows, return_dtype=pl.Int64).to_numpy()
    ends = np.cumsum([len(column) for column in columns])
    return vocabulary, np.split(codes, ends[:-1])


def _is_dense(values: npt.NDArray[np.int64]) -> bool:
    """Return whether ids start at 0 and fill at least half of their range."""
    return bool(values.min() == 0 and 2 * len(sort_unique(values)) >= values.max() + 1)
