"""Types of a data set: interactions as read, and their split into train, valid and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.data.csr import Csr, sort_unique

__all__ = ["Csr", "DataSplit", "Interactions"]

_HASHED = 1 << 20  # numbers at once


@dataclass(frozen=True, eq=False)
class Interactions:
    """User-item pairs with the vocabularies that their indices point into.

    Attributes:
        pairs: The pairs, users x items, each once.
        user_ids: ``(num_users,)`` int64 or object (str), the original user ids.
        item_ids: ``(num_items,)`` int64 or object (str), the original item ids.
        times: ``(n,)`` float64 in the order of the pairs, or None.
        duplicates: Number of repeated pairs that were merged.
    """

    pairs: Csr
    user_ids: npt.NDArray[Any]
    item_ids: npt.NDArray[Any]
    times: npt.NDArray[np.float64] | None
    duplicates: int

    @classmethod
    def from_pairs(
        cls,
        users: npt.NDArray[np.int64],
        items: npt.NDArray[np.int64],
        user_ids: npt.NDArray[Any],
        item_ids: npt.NDArray[Any],
        times: npt.NDArray[np.float64] | None = None,
    ) -> Interactions:
        """Sort pairs given in any order and merge repeated ones, keeping the earliest time.

        Args:
            users: ``(n,)`` int64, indices into ``user_ids``.
            items: ``(n,)`` int64, indices into ``item_ids``.
            user_ids: ``(num_users,)`` vocabulary.
            item_ids: ``(num_items,)`` vocabulary.
            times: ``(n,)`` float64, or None.
        """
        own_times = None if times is None else times.copy()
        return cls.from_keys(users * len(item_ids) + items, user_ids, item_ids, own_times)

    @classmethod
    def from_keys(
        cls,
        keys: npt.NDArray[np.int64],
        user_ids: npt.NDArray[Any],
        item_ids: npt.NDArray[Any],
        times: npt.NDArray[np.float64] | None = None,
    ) -> Interactions:
        """Do as :meth:`from_pairs` with keys ``user * num_items + item``, ``(n,)`` int64.

        Keys and times are overwritten. Beside them and the result, it needs 16 bytes a pair where there are times, and
        next to none otherwise.
        """
        given = len(keys)
        if times is not None:
            times[:] = times[np.argsort(keys)]
            keys.sort()
            first = np.ones(given, dtype=np.bool_)
            np.not_equal(keys[1:], keys[:-1], out=first[1:])
            times = times if first.all() else np.minimum.reduceat(times, np.flatnonzero(first))
        keys = sort_unique(keys)
        pairs = Csr.from_keys(keys, len(user_ids), len(item_ids))
        return cls(pairs, user_ids, item_ids, times, given - len(keys))

    @classmethod
    def merge(cls, parts: Sequence[Interactions]) -> Interactions:
        """Merge parts that share their vocabularies; times are kept if every part has them."""
        if len(parts) == 1:
            return parts[0]
        times = [part.times for part in parts if part.times is not None]
        merged = cls.from_keys(
            np.concatenate([part.pairs.keys() for part in parts]),
            parts[0].user_ids,
            parts[0].item_ids,
            np.concatenate(times) if len(times) == len(parts) else None,
        )
        return replace(merged, duplicates=merged.duplicates + sum(part.duplicates for part in parts))

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """The user of each pair as a new array, ``(n,)`` int64; pairs are sorted by (user, item)."""
        return self.pairs.rows()

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """The item of each pair as a new array, ``(n,)`` int64."""
        return self.pairs.indices


@dataclass(frozen=True, eq=False)
class DataSplit:
    """A data set split for training, validation and testing: all that the rest of the package sees of it.

    Attributes:
        name: Name of the data set.
        train: Training pairs, users x items.
        valid: Validation pairs, of the same shape.
        test: Test pairs, of the same shape. No pair is in two of the three, unless validation pairs are trained on.
        user_ids: ``(num_users,)`` int64 or object (str), the original user ids.
        item_ids: ``(num_items,)`` int64 or object (str), the original item ids.
        duplicates: Number of repeated pairs that were merged.
    """

    name: str
    train: Csr
    valid: Csr
    test: Csr
    user_ids: npt.NDArray[Any]
    item_ids: npt.NDArray[Any]
    duplicates: int

    @property
    def num_users(self) -> int:
        """Number of users."""
        return self.train.num_rows

    @property
    def num_items(self) -> int:
        """Number of items."""
        return self.train.num_cols

    @cached_property
    def user_frequency(self) -> npt.NDArray[np.int64]:
        """Training pairs of each user, ``(num_users,)`` int64."""
        return self.train.degrees()

    @cached_property
    def item_frequency(self) -> npt.NDArray[np.int64]:
        """Training pairs of each item, ``(num_items,)`` int64."""
        return self.train.column_degrees()

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the three matrices: the same for the same split, whatever the files or ids."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            for array in (np.array([part.num_rows, part.num_cols]), part.indptr, part.columns):
                for start in range(0, len(array), _HASHED):
                    digest.update(array[start : start + _HASHED].astype("<i8", copy=False).data)
        return digest.hexdigest()

    def statistics(self) -> dict[str, Any]:
        """Return the sizes of the data set in plain Python types, as ``summary.json`` records them."""
        return {
            "name": self.name,
            "users": self.num_users,
            "items": self.num_items,
            "interactions": {"train": self.train.nnz, "valid": self.valid.nnz, "test": self.test.nnz},
            "duplicates": self.duplicates,
            "users_without_train": int((self.user_frequency == 0).sum()),
            "items_without_train": int((self.item_frequency == 0).sum()),
            "hash": self.hash,
        }

    def describe(self) -> str:
        """Describe the sizes of the data set in a sentence; oddities are named only where there are any."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        sizes = ", ".join(f"{part.nnz:,} {name}" for name, part in parts.items() if part.nnz)
        odd = {
            f"users without {name} items": int((part.degrees() == 0).sum()) for name, part in parts.items() if part.nnz
        }
        odd["items never trained"] = int((self.item_frequency == 0).sum())
        odd["repeated interactions merged"] = self.duplicates
        notes = "".join(f"; {count:,} {what}" for what, count in odd.items() if count)
        return f"{self.name}: {self.num_users:,} users, {self.num_items:,} items, interactions {sizes}{notes}"
