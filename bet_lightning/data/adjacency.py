"""Adjacency lists: one line per user, ``user item item ...``, with non-negative integer ids."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.data.encoding import RawTable

_MAX_DIGITS = 18  # fits int64


def read_adjacency(path: Path, ordered: bool = False) -> RawTable:
    """Read an adjacency list.

    A user may have no items, or several lines. Blank lines are skipped.

    Args:
        path: An existing file.
        ordered: Whether each user's items are listed in order of time. The position of a pair in the file is then its
            time.

    Returns:
        The pairs, with times only if ``ordered``. Their ids may be row numbers.

    Raises:
        ValueError: If an id is not a non-negative integer of at most 18 digits, or the file holds no interactions.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # line ends of old Macs
    data = np.frombuffer(content, dtype=np.uint8)
    space = (data == 32) | ((data >= 9) & (data <= 13))
    edges = np.diff(np.concatenate([[True], space, [True]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == -1), np.flatnonzero(edges == 1)
    lines = np.searchsorted(np.flatnonzero(data == ord("\n")), starts)
    _check_tokens(path, content, space, starts, ends, lines)

    values: npt.NDArray[np.int64] = np.fromstring(content, dtype=np.int64, sep=" ")
    is_user = np.diff(lines, prepend=-1) != 0
    listed_users = values[is_user]
    counts = np.diff(np.append(np.flatnonzero(is_user), len(values))) - 1
    if not counts.sum():
        raise ValueError(f"{path}: the file is empty, expected lines 'user item item ...'")
    users = np.repeat(listed_users, counts)
    times = np.arange(len(users), dtype=np.float64) if ordered else None
    return RawTable(pl.Series(users), pl.Series(values[~is_user]), times, pl.Series(listed_users), row_numbers=True)


def _check_tokens(
    path: Path,
    content: bytes,
    space: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    lines: npt.NDArray[np.int64],
) -> None:
    """Check that every token is an integer of at most 18 digits.

    Args:
        path: The file, for the message.
        content: What the file holds.
        space: ``(bytes,)``, whether each byte is white space.
        starts: ``(tokens,)``, offset of each token's first byte.
        ends: ``(tokens,)``, offset of the byte after each token.
        lines: ``(tokens,)``, line of each token, counted from 0.

    Raises:
        ValueError: For the first token that is not.
    """
    data = np.frombuffer(content, dtype=np.uint8)
    foreign = np.flatnonzero(~space & ((data < ord("0")) | (data > ord("9"))))
    bad = np.concatenate(
        [
            np.searchsorted(starts, foreign[:1], side="right") - 1,
            np.flatnonzero(ends - starts > _MAX_DIGITS)[:1],
        ]
    )
    if len(bad):
        token = int(bad.min())
        text = content[starts[token] : ends[token]].decode(errors="replace")
        raise ValueError(f"{path}, line {lines[token] + 1}: {text[:40]!r} is not a non-negative integer id")
