"""Tables with named columns: CSV, TSV, Parquet and RecBole's ``.inter``."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.encoding import RawTable

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
PACKED = ".gz"  # a suffix after that of a format of text
_OTHER_SEPARATORS = ";\t|,"  # that are looked for in the header where a file has none of its own
_KNOWN_NAMES = {  # without case, spaces, hyphens and underscores; those of people and things also with id after them
    "user": ("user", "customer", "client", "member", "account", "visitor", "reviewer", "buyer", "uid", "userno"),
    "item": (
        *("item", "product", "article", "sku", "movie", "film", "book", "business", "artist", "track", "song", "video"),
        *("game", "app", "recipe", "content", "asin", "parentasin", "isbn", "iid"),
    ),
    "rating": ("rating", "score", "stars"),
    "time": ("timestamp", "time", "datetime", "date", "ts"),
}
_SLASHED = r"^\s*\d{1,2}/\d{1,2}/\d{4}"  # dates whose first number may be a day or a month
_JOINTS = str.maketrans("", "", " -_")
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
        path: An existing file with suffix ``.csv``, ``.tsv``, ``.inter`` (each packed or not) or ``.parquet``.
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
        reason = str(error).splitlines()[0]
        advice = "; write it as UTF-8, as with iconv -f LATIN1 -t UTF-8" if "utf-8" in reason.lower() else ""
        raise ValueError(f"{path}: not a readable table: {reason}{advice}") from error


def format_of(path: Path) -> str:
    """Return the suffix that tells a file's format, in lower case, without that of a packed one."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == PACKED else suffix


def _read(path: Path, names: ColumnNames, min_rating: float | None) -> RawTable:
    """Read a table as :func:`read_columns` does, but let the errors of polars through."""
    separator = _separator(path)
    present = _scan(path, separator).collect_schema().names()
    user, item = _find(path, present, {"user": names.user, "item": names.item})
    rating = _find_rating(path, present, names.rating, min_rating)
    time = _find_optional(path, present, "time", names.time)
    if user == item:
        raise ValueError(f"{path}: column {user!r} cannot be both data.user_column and data.item_column")
    wanted = dict.fromkeys(column for column in (user, item, rating, time) if column is not None)
    frame = _scan(path, separator).select(*wanted).collect()
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


def _separator(path: Path) -> str:
    """Return what stands between a text table's columns: its format's character, or another that the header has."""
    usual = SEPARATORS.get(format_of(path), "")
    if not usual or format_of(path) == ".inter":
        return usual
    opened = gzip.open if path.suffix.lower() == PACKED else open
    with opened(path, "rb") as file:
        header = file.readline(1 << 16).decode("utf-8", "replace")
    return usual if usual in header else max(_OTHER_SEPARATORS, key=header.count)


def _scan(path: Path, separator: str) -> pl.LazyFrame:
    """Open a table lazily; every column of a text format is read as strings."""
    if not separator:
        return pl.scan_parquet(path, glob=False)
    quote = None if format_of(path) == ".inter" else '"'
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
    typed = format_of(path) == ".inter"  # RecBole writes ``user_id:token``
    plain = {(name.split(":")[0] if typed else name).strip().lower(): name for name in reversed(present)}
    if given is None:
        bare = {name.translate(_JOINTS): original for name, original in plain.items()}
        ending = "id" if role in ("user", "item") else ""
        known = (name + end for name in _KNOWN_NAMES[role] for end in dict.fromkeys(("", ending)))
        return next((bare[name] for name in known if name in bare), None)
    if given in present:
        return given
    if given.lower() not in plain:
        raise ValueError(f"{path}: no column {given!r} (data.{role}_column), it has {', '.join(present)}")
    return plain[given.lower()]


def _find(path: Path, present: Sequence[str], given: Mapping[str, str | None]) -> list[str]:
    """Find columns by role as :func:`_find_optional` does, but raise ValueError if the file has not all of them."""
    found = {role: _find_optional(path, present, role, name) for role, name in given.items()}
    missing = " and ".join(f"no {role} column (data.{role}_column)" for role, name in found.items() if name is None)
    if missing:
        raise ValueError(f"{path}: {missing} is recognised, it has {', '.join(present)}")
    return [name for name in found.values() if name is not None]


def _find_rating(path: Path, present: Sequence[str], given: str | None, minimum: float | None) -> str | None:
    """Find the rating column; None if ratings are not wanted, that is, neither a name nor a minimum is given."""
    if minimum is not None:
        return _find(path, present, {"rating": given})[0]
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
    if column.dtype == pl.String and format_of(path) in SEPARATORS and text.str.contains(_INTEGER).all():
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
        if column.str.contains(_SLASHED).all():
            column = _slashed_dates(path, column)
        try:
            dates = column.str.to_datetime(strict=False)
        except pl.exceptions.PolarsError:
            dates = column  # no date format is recognised: report the first value below
        column = dates if dates.null_count() == column.null_count() else column
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("us") / 1e6
    return _to_numbers(path, column)


def _slashed_dates(path: Path, column: pl.Series) -> pl.Series:
    """Return dates as 31/12/2024 or 12/31/2024 with or without times of day, whichever all of them can be.

    Raises:
        ValueError: If they can be either.
    """
    parts = column.str.strip_chars().str.extract_groups(r"^(\d{1,2})/(\d{1,2})/(\d{4})[ T]*(.*)$").struct.unnest()
    first, second, year, rest = (parts[name] for name in parts.columns)
    orders = {"day": (first, second), "month": (second, first)}
    fitting = [name for name, (_, month) in orders.items() if (month.cast(pl.Int32) <= 12).all()]
    if len(fitting) == 2 and not first.equals(second):
        raise ValueError(
            f"{path}, column {column.name!r}: {column[0]!r} and all others may begin with the day or with the month: "
            "write dates as 2024-12-31"
        )
    if not fitting:
        return column
    day, month = orders[fitting[0]]
    whole = pl.select((year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + rest).str.strip_chars())
    return whole.to_series().alias(column.name)
