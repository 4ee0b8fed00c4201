"""Raw ids, as in the files that a table was trained on, in the form that a packed table stores them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_BYTES = 1024  # of an id
UNKNOWN = -1  # stands for the row of an id that is not in the vocabulary


class RawIds:
    """A sorted vocabulary of ids: integers or texts.

    Args:
        ids: ``(n,)`` sorted and unique: integers, or bytes of UTF-8 padded with zeros. The row of an id is its index.
    """

    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether ids are texts."""
        return self.ids.dtype.kind == "S"

    def find(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Find the rows of ids.

        Args:
            ids: ``(b,)`` integers, or texts if the vocabulary has texts.

        Returns:
            ``(b,)`` int64, -1 where there is no such id.

        Raises:
            ValueError: If the ids are not of the vocabulary's kind.
        """
        wanted = np.asarray(ids)
        if wanted.dtype.kind == "O":
            wanted = np.asarray([str(each) if isinstance(each, str) else each for each in wanted])
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in ("U" if self.is_text else "iu")):
            kind = "texts" if self.is_text else "integers"
            raise ValueError(f"ids of this table are {kind}, got {wanted.dtype} of shape {wanted.shape}")
        if not wanted.size:
            return np.empty(0, np.int64)
        if self.is_text:
            wanted = np.strings.encode(wanted, "utf-8")
        rows = np.searchsorted(self.ids, wanted).clip(max=len(self.ids) - 1)
        return np.where(self.ids[rows] == wanted, rows, UNKNOWN)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        """Return the ids of rows, in the rows' shape. Where a row is -1, the id is -1 or the empty text."""
        found = self.ids[rows]
        if self.is_text:
            found = np.strings.decode(found, "utf-8")
        return np.where(rows >= 0, found, "" if self.is_text else UNKNOWN)


def pack_ids(name: str, ids: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that a vocabulary is stored as.

    Args:
        name: Beginning of the arrays' names.
        ids: ``(n,)`` int64 or object (str), sorted and unique.

    Returns:
        The arrays by name; none if every id is its row's number.

    Raises:
        ValueError: If an id is too long, or has a character that padding is made of.
    """
    if ids.dtype.kind != "O":
        if np.array_equal(ids, np.arange(len(ids))):
            return {}
        small = len(ids) > 0 and np.abs(ids).max() <= np.iinfo(np.int32).max
        return {name: ids.astype(np.int32 if small else np.int64)}
    if "\0" in "".join(ids):
        unfit = next(each for each in ids if "\0" in each)
        raise ValueError(f"{name}: an id with the character NUL cannot be packed: {unfit!r}")
    if (longest := max(map(len, ids), default=0)) > _MAX_BYTES // 4:  # UTF-8 has at most four bytes a character
        raise ValueError(f"{name}: an id of {longest} characters cannot be packed, at most {_MAX_BYTES // 4} can")
    texts = np.strings.encode(ids.astype(str), "utf-8")
    lengths = np.strings.str_len(texts)
    width = texts.dtype.itemsize
    letters = texts.view(np.uint8).reshape(-1, width)[np.arange(width) < lengths[:, None]]
    return {f"{name}.lengths": lengths.astype(smallest_dtype(width)), f"{name}.letters": letters}


def unpack_ids(name: str, arrays: Mapping[str, npt.NDArray[Any]], count: int) -> RawIds:
    """Return the vocabulary that :func:`pack_ids` stored.

    Args:
        name: Beginning of the arrays' names.
        arrays: All arrays by name.
        count: Number of ids that the vocabulary must have.

    Raises:
        ValueError: If it does not hold ``count`` sorted and unique ids.
    """
    if f"{name}.lengths" in arrays:
        lengths = arrays[f"{name}.lengths"].astype(np.int64)
        letters = arrays[f"{name}.letters"]
        if len(lengths) != count or lengths.sum() != len(letters) or letters.min(initial=1) == 0:
            raise ValueError(f"{name} do not fit together")
        width = max(1, int(lengths.max(initial=1)))
        if width > _MAX_BYTES:  # all ids are padded to the longest one's
            raise ValueError(f"{name} are of up to {width} bytes")
        padded = np.zeros((count, width), np.uint8)
        padded[np.arange(width) < lengths[:, None]] = letters
        ids: npt.NDArray[Any] = padded.view(f"S{width}").reshape(-1)
    else:
        ids = np.asarray(arrays.get(name, np.arange(count, dtype=np.int32)))
    if ids.dtype.kind not in "iuS" or len(ids) != count or not (ids[1:] > ids[:-1]).all():
        raise ValueError(f"{name} are not {count} sorted ids")
    return RawIds(ids)


def smallest_dtype(largest: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned integer dtype, of at most four bytes, that holds a number."""
    return np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32
