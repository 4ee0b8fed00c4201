"""Tables in Parquet files, one or many, that need not fit in memory: they are read a piece at a time."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from bet_lightning.data.encoding import RawTable
from bet_lightning.data.frames import ChosenColumns, ColumnNames, choose_columns, to_table
from bet_lightning.data.names import list_names, printable
from bet_lightning.data.values import Place

PARQUET = ".parquet"
PIECE_ROWS = 1 << 21  # read at once
_WILD = "*?["


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """Interactions of Parquet files with the same columns.

    Attributes:
        where: What was asked for: a file, a folder or a pattern.
        files: The files.
        lengths: Rows of each file.
        columns: What to read of them.
        at_once: Whether all is one piece, because what a value means depends on all others.
    """

    where: Path
    files: tuple[Path, ...]
    lengths: tuple[int, ...]
    columns: ChosenColumns
    at_once: bool

    @property
    def row_numbers(self) -> bool:
        """Integer ids are not row numbers."""
        return False

    def num_rows(self) -> int:
        """Return the number of rows, of which ratings may keep fewer."""
        return sum(self.lengths)

    def pieces(self) -> Iterator[RawTable]:
        """Yield the interactions, about ``PIECE_ROWS`` rows at a time.

        Raises:
            ValueError: If a file is unreadable, or the content is as :func:`to_table` refuses it.
        """
        pending: list[RawTable] = []
        kept = 0
        for place, rows in self._slices():
            table = to_table(place, _collect(place.where, rows.select(self.columns.present())), self.columns)
            kept += table.num_rows()
            pending.append(table)
            if sum(map(RawTable.num_rows, pending)) >= PIECE_ROWS:
                yield _join(pending)
                pending.clear()
        self.columns.check_kept(str(self.where), kept)
        if pending:
            yield _join(pending)

    def _slices(self) -> Iterator[tuple[Place, pl.LazyFrame]]:
        """Yield slices of the files, each with the place of its first row."""
        if self.at_once:
            yield Place(str(self.where)), pl.concat([_scan(file) for file in self.files], how="diagonal")
            return
        for file, length in zip(self.files, self.lengths, strict=True):
            for start in range(0, length, PIECE_ROWS):
                yield Place(str(file), start + 1), _scan(file).slice(start, PIECE_ROWS)


def open_parquet(path: Path, names: ColumnNames, timed: bool) -> ParquetTable:
    """Find the files, their columns and their lengths; no row is read yet.

    Args:
        path: A file, a folder, or a pattern such as ``sales/2024-*.parquet``.
        names: The columns.
        timed: Whether to read times, if there are any.

    Raises:
        FileNotFoundError: If no file is found.
        ValueError: If a file is unreadable, a column is missing, the files differ in their columns, or all are empty.
    """
    files = _find_files(path)
    schemas = [_schema(file) for file in files]
    first = schemas[0]
    columns = choose_columns(str(files[0]), list(first), names, timed=timed)
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        _check_same(file, schema, files[0], first, columns)
    lengths = tuple(int(_collect(str(file), _scan(file).select(pl.len())).item()) for file in files)
    if not sum(lengths):
        raise ValueError(f"{path}: it is empty, there is a header and no rows")
    at_once = any(first[name].is_float() for name in (columns.user, columns.item)) or (
        columns.time is not None and first[columns.time] == pl.String
    )
    return ParquetTable(path, tuple(files), lengths, columns, at_once)


def is_pattern(path: Path) -> bool:
    """Return whether a path that does not exist has wildcards."""
    return any(character in str(path) for character in _WILD) and not path.exists()


def _find_files(path: Path) -> list[Path]:
    """Return the files of a folder and of those in it, those that a pattern fits, or the one file."""
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    files = sorted(file for file in found if file.suffix.lower() == PARQUET and file.is_file())
    if not files:
        raise FileNotFoundError(f"{path}: no {PARQUET} file " + ("in this folder" if path.is_dir() else "fits"))
    return files


def _check_same(file: Path, found: pl.Schema, first: Path, expected: pl.Schema, columns: ChosenColumns) -> None:
    """Raise ValueError if a file has other columns than the first one, or other types of those that are read."""
    if set(found) != set(expected):
        raise ValueError(f"{file}: it has {list_names(list(found))}, but {first} has {list_names(list(expected))}")
    for name in columns.present():
        if found[name] != expected[name]:
            raise ValueError(f"{file}: column {name!r} is {found[name]}, but {expected[name]} in {first}")


def _scan(file: Path) -> pl.LazyFrame:
    """Open one file lazily, whatever its name and its folder's are like."""
    return pl.scan_parquet(file, glob=False, hive_partitioning=False)


def _schema(file: Path) -> pl.Schema:
    """Return the columns of a file."""
    try:
        return _scan(file).collect_schema()
    except pl.exceptions.PolarsError as error:
        raise _unreadable(str(file), error) from error


def _collect(where: str, rows: pl.LazyFrame) -> pl.DataFrame:
    """Read rows."""
    try:
        return rows.collect()
    except pl.exceptions.PolarsError as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: pl.exceptions.PolarsError) -> ValueError:
    """Return the error of a file that polars cannot read."""
    return ValueError(f"{where}: not a readable table: {printable(str(error).splitlines()[0])}")


def _join(tables: list[RawTable]) -> RawTable:
    """Return the interactions of several tables as one."""
    users, items = pl.concat([table.users for table in tables]), pl.concat([table.items for table in tables])
    times = [table.times for table in tables if table.times is not None]
    return RawTable(users, items, np.concatenate(times) if times else None, users, row_numbers=False)
