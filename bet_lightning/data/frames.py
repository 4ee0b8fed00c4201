"""Frames with a column for each of user, item, rating and time, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from bet_lightning.data.encoding import RawTable
from bet_lightning.data.names import Role, list_names, usual_name
from bet_lightning.data.values import Place, to_ids, to_numbers, to_seconds


@dataclass(frozen=True)
class ColumnNames:
    """What to read of a table, or of a graph's edges.

    Attributes:
        user: Name of the column of users; None stands for a usual name, here and below.
        item: Name of the column of items.
        rating: Name of the column of ratings.
        time: Name of the column of times.
        min_rating: Keep the rows with at least this rating. None keeps all.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    min_rating: float | None = None

    def given(self) -> list[tuple[str, str | float]]:
        """Return the flags that are given, each with its value."""
        flags = {f"data.{role}_column": getattr(self, role) for role in ("user", "item", "rating", "time")}
        flags["data.min_rating"] = self.min_rating
        return [(flag, value) for flag, value in flags.items() if value is not None]


@dataclass(frozen=True)
class ChosenColumns:
    """Columns of a table by role.

    Attributes:
        user: Name of the column of users.
        item: Name of the column of items.
        rating: Name of the column of ratings; None if they are not wanted.
        time: Name of the column of times; None if there is none or it is not wanted.
        min_rating: Keep the rows with at least this rating. None keeps all.
    """

    user: str
    item: str
    rating: str | None
    time: str | None
    min_rating: float | None

    def present(self) -> list[str]:
        """Return the names, each once."""
        wanted = (self.user, self.item, self.rating, self.time)
        return list(dict.fromkeys(name for name in wanted if name is not None))

    def check_kept(self, where: str, count: int) -> None:
        """Raise ValueError if ratings keep no row of a table that has some."""
        if not count:
            raise ValueError(f"{where}: no row has data.min_rating {self.min_rating} in column {self.rating!r}")


def read_frame(
    where: str, frame: pl.LazyFrame, names: ColumnNames, *, timed: bool, text: bool = False, typed: bool = False
) -> RawTable:
    """Read the interactions of a frame with one interaction per row.

    Args:
        where: The file or option, for messages.
        frame: The frame.
        names: Its columns.
        timed: Whether to read times, if there are any.
        text: Whether every column is text, integers too.
        typed: Whether names of columns end in their types, as ``user_id:token``.

    Raises:
        ValueError: If the frame is empty, a column is missing, no row has a rating of at least ``names.min_rating``, or
            the content is as :func:`to_table` refuses it.
    """
    columns = choose_columns(where, frame.collect_schema().names(), names, timed=timed, typed=typed)
    rows = frame.select(columns.present()).collect()
    if rows.is_empty():
        raise ValueError(f"{where}: it is empty, there is a header and no rows")
    table = to_table(Place(where), rows, columns, text)
    columns.check_kept(where, table.num_rows())
    return table


def choose_columns(
    where: str, present: Sequence[str], names: ColumnNames, *, timed: bool, typed: bool = False
) -> ChosenColumns:
    """Choose what to read of a table by the names of its columns; the arguments are as in :func:`read_frame`.

    Raises:
        ValueError: If a column is missing, or users and items are the same column.
    """
    plain = {(name.split(":")[0] if typed else name).strip().lower(): name for name in reversed(present)}
    user, item = _find(where, present, plain, {"user": names.user, "item": names.item})
    rating = _find_rating(where, present, plain, names)
    time = _find_optional(where, present, plain, "time", names.time)
    if user == item:
        raise ValueError(f"{where}: column {user!r} cannot be both data.user_column and data.item_column")
    return ChosenColumns(user, item, rating, time if timed else None, names.min_rating)


def to_table(place: Place, rows: pl.DataFrame, columns: ChosenColumns, text: bool = False) -> RawTable:
    """Take the interactions of some rows of a table; ratings may keep none.

    Args:
        place: Where the rows are from, for messages.
        rows: The rows, of at least the chosen columns.
        columns: What to take.
        text: Whether every column is text, integers too.

    Raises:
        ValueError: If an id is missing or is no number or text, or a rating or a time is not a finite number.
    """
    users, items = to_ids(place, rows[columns.user], text), to_ids(place, rows[columns.item], text)
    times = None if columns.time is None else to_seconds(place, rows[columns.time])
    if columns.rating is not None:
        ratings = to_numbers(place, rows[columns.rating])
        if columns.min_rating is not None:
            keep = ratings >= columns.min_rating
            users, items = users.filter(keep), items.filter(keep)
            times = None if times is None else times[keep]
    return RawTable(users, items, times, users, row_numbers=False)


def _find_optional(
    where: str, present: Sequence[str], plain: Mapping[str, str], role: Role, given: str | None
) -> str | None:
    """Find the column with a role; None if there is none.

    Args:
        where: The file or option, for the message.
        present: Names of the columns.
        plain: The same by the name in lower case and without its type.
        role: ``user``, ``item``, ``rating`` or ``time``.
        given: The name asked for, in any case; None to look for a usual name.

    Raises:
        ValueError: If there is no column of the name asked for.
    """
    if given is None:
        usual = usual_name(list(plain), role)
        return None if usual is None else plain[usual]
    if given in present:
        return given
    if given.lower() not in plain:
        raise ValueError(f"{where}: no column {given!r} (data.{role}_column), it has {list_names(present)}")
    return plain[given.lower()]


def _find(where: str, present: Sequence[str], plain: Mapping[str, str], given: Mapping[Role, str | None]) -> list[str]:
    """Find columns by role as :func:`_find_optional` does, but raise ValueError if not all of them are there."""
    found = {role: _find_optional(where, present, plain, role, name) for role, name in given.items()}
    missing = " and ".join(f"no {role} column (data.{role}_column)" for role, name in found.items() if name is None)
    if missing:
        raise ValueError(f"{where}: {missing} is recognised, it has {list_names(present)}")
    return [name for name in found.values() if name is not None]


def _find_rating(where: str, present: Sequence[str], plain: Mapping[str, str], names: ColumnNames) -> str | None:
    """Find the rating column; None if ratings are not wanted, that is, neither a name nor a minimum is given."""
    if names.min_rating is not None:
        return _find(where, present, plain, {"rating": names.rating})[0]
    return None if names.rating is None else _find_optional(where, present, plain, "rating", names.rating)
