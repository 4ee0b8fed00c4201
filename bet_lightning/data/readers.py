"""Reading interactions from a file, whose suffix tells the format."""

from __future__ import annotations

from pathlib import Path

from bet_lightning.data.adjacency import read_adjacency
from bet_lightning.data.columns import PACKED, SEPARATORS, ColumnNames, format_of, read_columns
from bet_lightning.data.encoding import RawTable, encode_interactions

__all__ = ["RawTable", "encode_interactions", "read_interactions"]

SUFFIXES = (".txt", *SEPARATORS, ".parquet")


def read_interactions(
    path: str | Path,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    rating_column: str | None = None,
    time_column: str | None = None,
    min_rating: float | None = None,
    ordered: bool = False,
) -> RawTable:
    """Read the interactions of one file.

    Args:
        path: ``.txt`` (adjacency list, ``user item item ...`` on each line), ``.csv``, ``.tsv``, ``.parquet``, or
            RecBole's ``.inter``. All except the first have a header. Text with columns may be packed (``.csv.gz``).
        user_column: Name of the user column, in any case. By default ``user_id``, ``customer`` or a similar name.
        item_column: Name of the item column. By default ``item_id``, ``movieId``, ``sku`` or a similar name.
        rating_column: Name of the rating column. By default ``rating``, ``score`` or ``stars``, which are read only
            if ``min_rating`` is given.
        time_column: Name of the time column, which holds numbers or dates. By default ``timestamp``, ``time``,
            ``date`` or ``ts``, if there is one.
        min_rating: Keep the rows with at least this rating. By default all are kept.
        ordered: Whether an adjacency list has each user's items in order of time.

    Returns:
        The pairs with their ids as in the file. Integer ids are int64, all others str.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the suffix is unknown or the content is invalid. The message says where.
    """
    path = Path(path)
    suffix = format_of(path)
    if suffix not in SUFFIXES or (path.suffix.lower() == PACKED and suffix not in SEPARATORS):
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of interactions")
    if suffix != ".txt":
        names = ColumnNames(user_column, item_column, rating_column, time_column)
        return read_columns(path, names, min_rating)

    given = {
        "user_column": user_column,
        "item_column": item_column,
        "rating_column": rating_column,
        "time_column": time_column,
        "min_rating": min_rating,
    }
    unusable = next((flag for flag, value in given.items() if value is not None), None)
    if unusable is not None:
        raise ValueError(f"{path}: data.{unusable} {given[unusable]!r} is of no use: .txt has no columns")
    return read_adjacency(path, ordered)
