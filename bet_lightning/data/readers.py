"""Reading interactions from a file; its suffix says the format."""

from __future__ import annotations

from pathlib import Path

from bet_lightning.data.adjacency import read_adjacency
from bet_lightning.data.columns import SEPARATORS, ColumnNames, read_columns
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
        path: `.txt` (adjacency list, `user item item ...` a line), `.csv`, `.tsv`, `.parquet`, or RecBole's
            `.inter`; all but the first have a header.
        user_column: name of the column; by default the first that is called `user_id` or alike, in any case.
        item_column: likewise, `item_id`, `movieId` and alike.
        rating_column: likewise, `rating`, `score` or `stars`; read only if `min_rating` is given.
        time_column: likewise, `timestamp`, `time`, `date` or `ts`; numbers or dates; optional.
        min_rating: keep the rows with at least this rating; by default all.
        ordered: whether an adjacency list has users' items in the order of time.

    Returns:
        The pairs with their ids as in the file. Integer ids are int64, all others str.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the suffix is unknown or the content is at fault; the message says where.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
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
