"""The header of a packed table: plain JSON with a checksum of its own, and errors that name the table."""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEADER = "header.json"
_MAX_HEADER = 1 << 20


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn any error that the content of a table causes into one line that names the table.

    Args:
        path: Folder of the table.

    Raises:
        ValueError: If the block raises any of these errors.
    """
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"there is no {reason}" if isinstance(error, KeyError) else reason
        raise ValueError(f"{path}: not a sound packed table ({reason})") from None


def header_text(header: Mapping[str, Any]) -> str:
    """Return the text of a header as it is written to a file, with a checksum of its own."""
    signed = dict(header) | {"sha256": hashlib.sha256(_canonical(header).encode()).hexdigest()}
    return _canonical(signed)


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, indent=1, sort_keys=True, allow_nan=False) + "\n"


def file_size(path: Path) -> int:
    """Return the bytes of a file: links are followed, what has no end is refused.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is a device, a pipe or a folder.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path.name} is no regular file")
    return found.st_size


def read_header(path: Path) -> dict[str, Any]:
    """Read a header and check its checksum.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it was altered.
    """
    if file_size(path) > _MAX_HEADER:
        raise ValueError(f"{HEADER} is too long")
    text = path.read_text("utf-8")
    header = json.loads(text)
    if not isinstance(header, dict) or header_text({k: v for k, v in header.items() if k != "sha256"}) != text:
        raise ValueError(f"{HEADER} was altered")
    return header


def finite(value: Any) -> Any:
    """Replace NaN and infinite numbers in plain values by None, because JSON has no form for them."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
