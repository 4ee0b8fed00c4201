"""From the ids in files to row numbers: one vocabulary for all files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.csr import sort_unique
from bet_lightning.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class RawTable:
    """Interactions of one file, with the ids as the file has them.

    Attributes:
        path: the file.
        users: int64 or object (str) of shape `(n,)`.
        items: int64 or object (str) of shape `(n,)`.
        times: float64 of shape `(n,)`, or None.
        listed_users: users that the file names, with or without interactions, of shape `(m,)`.
        row_numbers: whether integer ids may be row numbers, as in adjacency lists.
    """

    path: Path
    users: npt.NDArray[Any]
    items: npt.NDArray[Any]
    times: npt.NDArray[np.float64] | None
    listed_users: npt.NDArray[Any]
    row_numbers: bool


def encode_interactions(tables: Sequence[RawTable]) -> list[Interactions]:
    """Replace ids by row numbers, with one vocabulary for all tables.

    A vocabulary is the sorted unique ids. Only for adjacency lists whose ids are dense (they start at 0 and
    at least half of the range occurs) it is the whole range, so that an id is its row number.

    Args:
        tables: the files of one data set.

    Returns:
        For every table its interactions, repeated pairs merged; all share `user_ids` and `item_ids`.
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
    """Vocabulary of several id columns, and each column as int64 rows of it."""
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
    """Whether ids start at 0 and fill at least half of their range."""
    return bool(values.min() == 0 and 2 * len(sort_unique(values)) >= values.max() + 1)
