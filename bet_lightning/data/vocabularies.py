"""Vocabularies: the distinct ids of columns that arrive in pieces, and the row number of each."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

_MAX_SPREAD = 8  # row numbers are looked up by id where ids span at most so many times their number
_LEAST_MERGED = 1 << 20  # ids that are gathered before repeated ones are merged


class DistinctIds:
    """The distinct ids of Int64 and String columns that arrive in pieces; memory follows their number."""

    def __init__(self) -> None:
        """Start without ids."""
        self._known: list[pl.Series] = []
        self._merged = 0  # of the ids known, these are distinct

    def add(self, column: pl.Series) -> None:
        """Add the ids of a piece."""
        self._known.append(column.unique())
        if sum(map(len, self._known)) > 2 * max(self._merged, _LEAST_MERGED):
            self._known = [self._union()]
            self._merged = len(self._known[0])

    def vocabulary(self, row_numbers: bool) -> Vocabulary:
        """Return the sorted ids; or all numbers up to the largest, if ids may be row numbers and they are dense."""
        ids = self._union().sort()
        if row_numbers and ids.dtype == pl.Int64 and ids[0] == 0 and 2 * len(ids) >= ids[-1] + 1:
            ids = pl.arange(ids[-1] + 1, eager=True)
        return Vocabulary(ids)

    def _union(self) -> pl.Series:
        """Return the ids known, each once; as text, where some are."""
        kinds = {ids.dtype for ids in self._known}
        return pl.concat([ids.cast(pl.String) if len(kinds) > 1 else ids for ids in self._known]).unique()


class Vocabulary:
    """Sorted ids, whose positions are their row numbers.

    Args:
        ids: ``(n,)`` Int64 or String, sorted and unique.
    """

    def __init__(self, ids: pl.Series) -> None:
        """Keep the ids."""
        self._ids = ids

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self._ids)

    @cached_property
    def ids(self) -> npt.NDArray[Any]:
        """The ids, ``(n,)`` int64 or object (str)."""
        return self._ids.to_numpy()

    def rows_of(self, column: pl.Series) -> npt.NDArray[np.int64]:
        """Return the row number of each id of a column, all of which are known."""
        if self._table is not None:
            return np.asarray(self._table[column.to_numpy() - self._ids[0]], dtype=np.int64)
        rows = pl.arange(len(self._ids), eager=True)
        found = column.cast(self._ids.dtype).replace_strict(self._ids, rows, return_dtype=pl.Int64)
        return np.asarray(found, dtype=np.int64)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32] | npt.NDArray[np.int64] | None:
        """The row number of each integer from the least id to the largest; None where there are too many or no ids."""
        if self._ids.dtype != pl.Int64 or not len(self._ids):
            return None
        span = self._ids[-1] - self._ids[0] + 1
        if span > _MAX_SPREAD * len(self._ids):
            return None
        table = np.zeros(span, dtype=np.int32 if len(self._ids) <= 1 << 31 else np.int64)
        table[self._ids.to_numpy() - self._ids[0]] = np.arange(len(self._ids), dtype=table.dtype)
        return table
