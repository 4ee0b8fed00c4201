"""Tables with named columns: CSV, TSV, Parquet and RecBole's ``.inter``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.encoding import RawTable

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
_KNOWN_NAMES = {
    "user": ("user", "user_id", "userid", "uid"),
    "item": (
        *("item", "item_id", "itemid", "iid", "movie_id", "movieid", "product_id", "productid"),
        *("business_id", "artist_id", "artistid", "track_id", "trackid", "book_id", "bookid", "isbn", "asin"),
    ),
    "rating": ("rating", "score", "stars"),
    "time": ("timestamp", "time", "date", "ts"),
}
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # texts that turn into an int64 and back without loss


@dataclass(frozen=True)
class ColumnNames:
    """Names in the file of the columns to read; None stands for a usual name."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None


def read_columns(path: Path, names: ColumnNames, min_rating: float | None = None) -> RawTable:
    """Read a table with a header and one interaction per row.

    Args:
        path: An existing file with suffix ``.csv``, ``.tsv``, ``.inter`` or ``.parquet``.
        names: The columns.
        min_rating: Keep the rows with at least this rating. None keeps all.

    Returns:
        The pairs, with times if the file has a time column.

    Raises:
        ValueError: If the file is unreadable or empty, a column or an id is missing, a rating or a time is not a
            finite number, or no row has a rating of at least ``min_rating``.
    """
    try:
        return _read(path, names, min_rating)
    except pl.exceptions.NoDataError as error:
        raise ValueError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: not a readable table: {str(error).splitlines()[0]}") from error


def _read(path: Path, names: ColumnNames, min_rating: float | None) -> RawTable:
    """Read a table as :func:`read_columns` does, but let the errors of polars through."""
    present = _scan(path).collect_schema().names()
    user = _find(path, present, "user", names.user)
    item = _find(path, present, "item", names.item)
    rating = _find_rating(path, present, names.rating, min_rating)
    time = _find_optional(path, present, "time", names.time)
    if user == item:
        raise ValueError(f"{path}: column {user!r} cannot be both data.user_column and data.item_column")
    wanted = dict.fromkeys(column for column in (user, item, rating, time) if column is not None)
    frame = _scan(path).select(*wanted).collect()
    if frame.is_empty():
        raise ValueError(f"{path}: the file is empty, it has a header and no rows")

    times = None if time is None else _to_seconds(path, frame[time])
    users, items = _to_ids(path, frame[user]), _to_ids(path, frame[item])
    if rating is not None:
        ratings = _to_numbers(path, frame[rating])
        if min_rating is not None:
            keep = ratings >= min_rating
            users, items = users[keep], items[keep]
            times = None if times is None else times[keep]
        if not len(users):
            raise ValueError(f"{path}: no row has data.min_rating {min_rating} in column {rating!r}")
    return RawTable(path, users, items, times, users, row_numbers=False)


def _scan(path: Path) -> pl.LazyFrame:
    """Open a table lazily; every column of a text format is read as strings."""
    if path.suffix.lower() == ".parquet":
        return pl.scan_parquet(path, glob=False)
    separator = SEPARATORS[path.suffix.lower()]
    quote = None if path.suffix.lower() == ".inter" else '"'
    return pl.scan_csv(path, separator=separator, quote_char=quote, infer_schema=False, glob=False)


def _find_optional(path: Path, present: Sequence[str], role: str, given: str | None) -> str | None:
    """Find the name in the file of the column with a role; None if the file has none.

    Args:
        path: The file.
        present: Names of the file's columns.
        role: ``user``, ``item``, ``rating`` or ``time``.
        given: The name asked for, in any case; None to look for a usual name.

    Raises:
        ValueError: If the file has no column of the name asked for.
    """
    typed = path.suffix.lower() == ".inter"  # RecBole writes ``user_id:token``
    plain = {(name.split(":")[0] if typed else name).strip().lower(): name for name in reversed(present)}
    if given is None:
        return next((plain[name] for name in _KNOWN_NAMES[role] if name in plain), None)
    if given in present:
        return given
    if given.lower() not in plain:
        raise ValueError(f"{path}: no column {given!r} (data.{role}_column), it has {', '.join(present)}")
    return plain[given.lower()]


def _find(path: Path, present: Sequence[str], role: str, given: str | None) -> str:
    """Find a column as :func:`_find_optional` does, but raise ValueError if the file has none."""
    found = _find_optional(path, present, role, given)
    if found is None:
        columns = ", ".join(present)
        raise ValueError(f"{path}: no {role} column (data.{role}_column) is recognised, it has {columns}")
    return found


def _find_rating(path: Path, present: Sequence[str], given: str | None, minimum: float | None) -> str | None:
    """Find the rating column; None if ratings are not wanted, that is, neither a name nor a minimum is given."""
    if minimum is not None:
        return _find(path, present, "rating", given)
    return None if given is None else _find_optional(path, present, "rating", given)


def _reject(path: Path, column: pl.Series, bad: pl.Series, what: str) -> None:
    """Raise ValueError, which says ``what`` is wrong, for the first row that the bool series ``bad`` marks."""
    row = bad.arg_max() if bad.any() else None
    if row is not None:
        raise ValueError(f"{path}, row {row + 1} after the header, column {column.name!r}: {what}")


def _to_ids(path: Path, column: pl.Series) -> npt.NDArray[Any]:
    """Return ids as int64 if all are integers, otherwise as an object array of str."""
    _reject(path, column, column.is_null(), "the id is missing")
    if column.dtype.is_integer() and column.dtype not in (pl.UInt64, pl.Int128):
        return column.cast(pl.Int64).to_numpy()
    text = column.cast(pl.String)
    if column.dtype == pl.String and path.suffix.lower() in SEPARATORS and text.str.contains(_INTEGER).all():
        return text.cast(pl.Int64).to_numpy()
    return text.to_numpy()


def _to_numbers(path: Path, column: pl.Series) -> npt.NDArray[np.float64]:
    """Return a column of finite numbers as float64."""
    plain = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = plain.cast(pl.Float64, strict=False)
    bad = ~numbers.is_finite().fill_null(False)
    _reject(path, column, bad, f"{column.filter(bad).head(1).to_list()} is not a finite number")
    return numbers.to_numpy()


def _to_seconds(path: Path, column: pl.Series) -> npt.NDArray[np.float64]:
    """Return a column of times as float64: numbers as they are, dates as seconds since 1970."""
    if column.dtype == pl.String and column.cast(pl.Float64, strict=False).null_count() == len(column):
        try:
            dates = column.str.to_datetime(strict=False)
        except pl.exceptions.PolarsError:
            dates = column  # no date format is recognised: report the first value below
        column = dates if dates.null_count() == column.null_count() else column
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("us") / 1e6
    return _to_numbers(path, column)
