"""Values of a column as ids, as finite numbers or as times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

_SLASHED = r"^\s*\d{1,2}/\d{1,2}/\d{4}"  # dates whose first number may be a day or a month
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # texts that turn into an int64 and back without loss
_MAX_WHOLE = float(1 << 53)  # float64 holds every integer up to it


@dataclass(frozen=True)
class Place:
    """Where rows are from, for messages.

    Attributes:
        where: The file or option.
        first_row: The number there of the first row of these, from 1.
    """

    where: str
    first_row: int = 1


def to_ids(place: Place, column: pl.Series, text: bool) -> pl.Series:
    """Return ids as Int64 if all are integers, otherwise as String.

    Args:
        place: Where they are from, for the message.
        column: ``(n,)`` integers, text, or floats: those that hold whole numbers, as pandas makes them of integers
            with gaps, are integers.
        text: Whether the column is of a text format, where integers too are text.

    Raises:
        ValueError: If an id is missing or no number or text.
    """
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise ValueError(f"{place.where}, column {column.name!r}: ids must be numbers or text, not {column.dtype}")
    missing = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
    reject(place, column, missing, "the id is missing")
    if column.dtype.is_float() and ((column == column.floor()) & (column.abs() <= _MAX_WHOLE)).all():
        column = column.cast(pl.Int64)
    if column.dtype.is_integer() and column.dtype not in (pl.UInt64, pl.Int128):
        return column.cast(pl.Int64)
    strings = column.cast(pl.String)
    if text and strings.str.contains(_INTEGER).all():
        return strings.cast(pl.Int64)
    return strings


def to_numbers(place: Place, column: pl.Series) -> npt.NDArray[np.float64]:
    """Return a column of finite numbers as float64.

    Raises:
        ValueError: If one is missing, no number or not finite.
    """
    plain = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = plain.cast(pl.Float64, strict=False)
    bad = ~numbers.is_finite().fill_null(False)
    reject(place, column, bad, f"{column.filter(bad).head(1).to_list()} is not a finite number")
    return numbers.to_numpy()


def to_seconds(place: Place, column: pl.Series) -> npt.NDArray[np.float64]:
    """Return a column of times as float64: numbers as they are, dates as seconds since 1970.

    Raises:
        ValueError: If one is missing, or neither a number nor a date.
    """
    if column.dtype == pl.String and column.cast(pl.Float64, strict=False).null_count() == len(column):
        if column.str.contains(_SLASHED).all():
            column = _slashed_dates(place, column)
        try:
            dates = column.str.to_datetime(strict=False)
        except pl.exceptions.PolarsError:
            dates = column  # no date format is recognised: report the first value below
        column = dates if dates.null_count() == column.null_count() else column
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("us") / 1e6
    return to_numbers(place, column)


def reject(place: Place, column: pl.Series, bad: pl.Series, what: str) -> None:
    """Raise ValueError, which says ``what`` is wrong, for the first row that the bool series ``bad`` marks."""
    row = bad.arg_max() if bad.any() else None
    if row is not None:
        raise ValueError(f"{place.where}, row {place.first_row + row} of the data, column {column.name!r}: {what}")


def _slashed_dates(place: Place, column: pl.Series) -> pl.Series:
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
            f"{place.where}, column {column.name!r}: {column[0]!r} and all others may begin with the day or with the "
            "month: write dates as 2024-12-31"
        )
    if not fitting:
        return column
    day, month = orders[fitting[0]]
    whole = pl.select((year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2) + " " + rest).str.strip_chars())
    return whole.to_series().alias(column.name)
