"""Reading interactions from a file, whose suffix tells the format, or from a folder of Parquet files."""

from __future__ import annotations

from pathlib import Path

from bet_lightning.data.adjacency import read_adjacency
from bet_lightning.data.columns import PACKED, SEPARATORS, format_of, read_columns
from bet_lightning.data.encoding import RawTable, Table, encode_interactions
from bet_lightning.data.frames import ColumnNames
from bet_lightning.data.parquet import PARQUET, is_pattern, open_parquet

__all__ = ["RawTable", "Table", "encode_interactions", "read_interactions"]

SUFFIXES = (".txt", *SEPARATORS, PARQUET)
_USUAL = ColumnNames()


def read_interactions(
    path: str | Path,
    names: ColumnNames = _USUAL,
    *,
    timed: bool = True,
    ordered: bool = False,
    separator: str | None = None,
) -> Table:
    """Read the interactions of one file, or open those of Parquet files.

    Args:
        path: ``.txt`` (adjacency list, ``user item item ...`` on each line), ``.csv``, ``.tsv``, ``.parquet``, or
            RecBole's ``.inter``. All except the first have a header. Text with columns may be packed (``.csv.gz``).
            Or a folder with Parquet files, or a pattern that such files fit, as ``sales/2024-*.parquet``.
        names: What to read of a file with columns; by default columns of usual names, without ratings.
        timed: Whether to read a column of times, which holds numbers or dates, if there is one.
        ordered: Whether an adjacency list has each user's items in order of time.
        separator: The character between columns of text. By default the format's, or ``;``, tab, ``|`` or ``,`` where
            the header has that instead.

    Returns:
        The pairs with their ids as in the file. Integer ids are Int64, all others String. Those of Parquet files are
        read when they are asked for, a piece at a time.

    Raises:
        FileNotFoundError: If the file does not exist, or there is no Parquet file in a folder.
        ValueError: If the suffix is unknown or the content is invalid. The message says where.
    """
    path = Path(path)
    suffix = PARQUET if path.is_dir() or is_pattern(path) else format_of(path)
    if suffix not in SUFFIXES or (path.suffix.lower() == PACKED and suffix not in SEPARATORS):
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}, expected a folder or {', '.join(SUFFIXES)}")
    if suffix != PARQUET and not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of interactions")
    if separator is not None and suffix not in SEPARATORS:
        raise ValueError(f"{path}: data.separator {separator!r} is of no use: {suffix} has none")
    if separator is not None and len(separator.encode()) != 1:
        raise ValueError(f"{path}: data.separator must be one character, got {separator!r}")
    if suffix == PARQUET:
        return open_parquet(path, names, timed)
    if suffix != ".txt":
        return read_columns(path, names, timed, separator)
    unusable = names.given()
    if unusable:
        flag, value = unusable[0]
        raise ValueError(f"{path}: {flag} {value!r} is of no use: .txt has no columns")
    return read_adjacency(path, ordered)
