"""Encoding of the ids in files as row numbers, with one vocabulary for all files of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.interactions import Interactions
from bet_lightning.data.vocabularies import DistinctIds, Vocabulary


class Table(Protocol):
    """Interactions of one file, of several or of a frame, with the ids as they have them."""

    @property
    def row_numbers(self) -> bool:
        """Whether integer ids may be row numbers, as in adjacency lists."""

    def num_rows(self) -> int:
        """Return the number of interactions, or of more."""

    def pieces(self) -> Iterator[RawTable]:
        """Yield the interactions in pieces that fit in memory, the same ones at each call."""


@dataclass(frozen=True, eq=False)
class RawTable:
    """Interactions that are in memory.

    Attributes:
        users: ``(n,)`` Int64 or String.
        items: ``(n,)`` Int64 or String.
        times: ``(n,)`` float64, or None.
        listed_users: ``(m,)`` users that the file names, with or without interactions.
        row_numbers: Whether integer ids may be row numbers, as in adjacency lists.
    """

    users: pl.Series
    items: pl.Series
    times: npt.NDArray[np.float64] | None
    listed_users: pl.Series
    row_numbers: bool

    def num_rows(self) -> int:
        """Return the number of interactions."""
        return len(self.users)

    def pieces(self) -> Iterator[RawTable]:
        """Yield all interactions at once."""
        yield self


def encode_interactions(tables: Sequence[Table]) -> list[Interactions]:
    """Replace ids by row numbers, with one vocabulary for all tables.

    A vocabulary holds the sorted unique ids. For adjacency lists with dense ids, it holds the whole range instead, so
    that an id is its row number. Ids are dense if they start at 0 and at least half of the range occurs.

    Each table is gone through twice, piece by piece: first for its ids, then for its pairs. Beside the vocabularies and
    a piece, a pair takes 12 bytes while it is sorted and 4 afterwards; with a time 32, and 12 afterwards.

    Args:
        tables: The files of one data set.

    Returns:
        The interactions of each table, repeated pairs merged. All share ``user_ids`` and ``item_ids``.
    """
    row_numbers = all(table.row_numbers for table in tables)
    users, items = DistinctIds(), DistinctIds()
    for piece in (piece for table in tables for piece in table.pieces()):
        users.add(piece.users)
        if piece.listed_users is not piece.users:
            users.add(piece.listed_users)
        items.add(piece.items)
    vocabularies = users.vocabulary(row_numbers), items.vocabulary(row_numbers)
    return [_encode(table, *vocabularies) for table in tables]


def _encode(table: Table, users: Vocabulary, items: Vocabulary) -> Interactions:
    """Return the interactions of a table, repeated pairs merged."""
    keys = np.empty(table.num_rows(), dtype=np.int64)
    times: npt.NDArray[np.float64] | None = None
    end = 0
    for piece in table.pieces():
        rows = slice(end, end := end + len(piece.users))
        np.multiply(users.rows_of(piece.users), len(items), out=keys[rows])
        keys[rows] += items.rows_of(piece.items)
        if piece.times is not None:
            times = np.empty(len(keys)) if times is None else times
            times[rows] = piece.times
    return Interactions.from_keys(keys[:end], users.ids, items.ids, None if times is None else times[:end])
