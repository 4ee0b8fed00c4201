"""Files of text with named columns: CSV, TSV and RecBole's ``.inter``."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import polars as pl

from bet_lightning.data.encoding import RawTable
from bet_lightning.data.frames import ColumnNames, read_frame
from bet_lightning.data.names import printable

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
PACKED = ".gz"  # a suffix after that of a format of text
_OTHER_SEPARATORS = ";\t|,"  # that are looked for in the header where a file has none of its own
_GZIP = b"\x1f\x8b"  # what every packed file begins with
_HEADER_BYTES = 1 << 16


def read_columns(path: Path, names: ColumnNames, timed: bool = True, separator: str | None = None) -> RawTable:
    """Read a table with a header and one interaction per row.

    Args:
        path: An existing file with suffix ``.csv``, ``.tsv`` or ``.inter``, each packed or not.
        names: The columns.
        timed: Whether to read times, if there are any.
        separator: What stands between columns of text. By default that of the format, or what the header has.

    Raises:
        ValueError: If the file is unreadable, or its content is as :func:`read_frame` refuses it.
    """
    suffix = format_of(path)
    try:
        frame = _scan_text(path, separator)
        return read_frame(str(path), frame, names, timed=timed, text=True, typed=suffix == ".inter")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable {PACKED} file: {printable(str(error))}") from error
    except pl.exceptions.NoDataError as error:
        raise ValueError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        reason = printable(str(error).splitlines()[0])
        advice = "; write it as UTF-8, as with iconv -f LATIN1 -t UTF-8" if "utf-8" in reason.lower() else ""
        raise ValueError(f"{path}: not a readable table: {reason}{advice}") from error


def format_of(path: Path) -> str:
    """Return the suffix that tells a file's format, in lower case, without that of a packed one."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == PACKED else suffix


def _scan_text(path: Path, separator: str | None) -> pl.LazyFrame:
    """Open a table of text lazily, with every column as text; its line ends are found."""
    with path.open("rb") as file:
        is_packed = path.suffix.lower() == PACKED or file.read(len(_GZIP)) == _GZIP  # whatever it is called
        file.seek(0)
        start = gzip.GzipFile(fileobj=file).read(_HEADER_BYTES) if is_packed else file.read(_HEADER_BYTES)
    line_end = "\r" if b"\r" in start and b"\n" not in start else "\n"  # the former is old Macs'
    header = start.partition(line_end.encode())[0].decode("utf-8", "replace")
    usual = SEPARATORS[format_of(path)]
    if separator is None and usual not in header and format_of(path) != ".inter":
        separator = max(_OTHER_SEPARATORS, key=header.count)
    return pl.scan_csv(
        path,
        separator=separator or usual,
        quote_char=None if format_of(path) == ".inter" else '"',
        eol_char=line_end,
        infer_schema=False,
        glob=False,
    )
