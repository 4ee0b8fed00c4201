"""Splits of a data set into train, valid and test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from bet_lightning.data.interactions import DataSplit, Interactions

SplitName = Literal["paper", "official", "ratio", "temporal", "leave_one_out", "given"]
ValidChoice = Literal["random", "last"]
Ratios = tuple[float, float, float]
_Ints = npt.NDArray[np.int64]

PAPER_RATIOS: Ratios = (0.5, 0.25, 0.25)  # BET (WSDM 2024), experimental settings
TIMED = ("temporal", "leave_one_out")  # splits that go by time
_TRAIN, _VALID, _TEST = 0, 1, 2


def split_interactions(
    data: Interactions | Mapping[str, Interactions],
    split: SplitName,
    *,
    name: str,
    seed: int = 0,
    ratios: Ratios = (0.8, 0.1, 0.1),
    valid_ratio: float = 0.1,
    valid_choice: ValidChoice = "random",
) -> DataSplit:
    """Split interactions; every user with interactions keeps at least one for training.

    Random choices depend on ``seed`` and on the set of pairs, not on their order in the files. The splits are:

    - ``paper``: All parts merged. Each user's pairs are split at random, 50 % train, 25 % valid, 25 % test.
    - ``ratio``: The same, with ``ratios``.
    - ``temporal``: The same, but each user's earliest pairs are for training and the latest for testing.
    - ``leave_one_out``: All parts merged. Each user's last pair by time is for testing and the one before it for
      validation. Without times, the order is random. Users with fewer than 3 pairs are only trained on.
    - ``official``: The test part as it is. ``valid_ratio`` of each user's pairs in the train part is for validation.
    - ``given``: The parts as they are.

    ``official`` and ``given`` keep a pair that is in two parts in the first of them only.

    Args:
        data: All interactions, or those of the parts ``train``, ``valid`` and ``test`` that the data set has.
        split: Name of the split.
        name: Name of the data set.
        seed: Seed of the random choices, not negative.
        ratios: Shares of train, valid and test.
        valid_ratio: Share of each user's train pairs that ``official`` validates on. A user with two pairs or more
            validates on at least one.
        valid_choice: Whether ``official`` chooses each user's validation pairs at ``random`` or the ``last`` by time.

    Raises:
        ValueError: If an argument is out of range, the data lack a part or the times that the split needs, or they
            have a part that the split would make.
    """
    check_split_arguments(split, seed, ratios, valid_ratio, valid_choice)
    parts = {"train": data} if isinstance(data, Interactions) else dict(data)
    if split in ("official", "given"):
        return _split_parts(parts, split, name, seed, valid_ratio, valid_choice)

    merged = Interactions.merge(list(parts.values()))
    if split == "temporal" and merged.times is None:
        raise ValueError(f"data.split temporal needs times, and {name} has none")
    shares = PAPER_RATIOS if split == "paper" else ratios
    label = _leave_one_out if split == "leave_one_out" else partial(_by_shares, shares)
    labels = _label_pairs(merged, _generator(seed, split), label, timed=split in TIMED)
    train, valid, test = (merged.pairs.where(labels == part) for part in (_TRAIN, _VALID, _TEST))
    return DataSplit(name, train, valid, test, merged.user_ids, merged.item_ids, merged.duplicates)


def usual_split(parts: Collection[str]) -> SplitName:
    """Return the split to use if none is given, by the parts that a data set has."""
    return "given" if "valid" in parts else "official" if "test" in parts else "ratio"


def check_split_arguments(split: str | None, seed: int, ratios: Ratios, valid_ratio: float, valid_choice: str) -> None:
    """Check the arguments of :func:`split_interactions`, where the split may still be unknown.

    Raises:
        ValueError: If one is out of range. The message names its flag.
    """
    if split is not None and split not in get_args(SplitName):
        raise ValueError(f"data.split must be one of {', '.join(get_args(SplitName))}, got {split!r}")
    if seed < 0:
        raise ValueError(f"data.seed must not be negative, got {seed}")
    advice = "; data.train_on_valid true trains on what is for validation too" if 1 in ratios else ""
    if len(ratios) != 3 or min(ratios[:2]) <= 0 or ratios[2] < 0 or not abs(sum(ratios) - 1) < 1e-6:
        raise ValueError(f"data.ratios must be three shares that sum to 1 (train, valid > 0), got {ratios}{advice}")
    if not 0 < valid_ratio < 1:
        raise ValueError(f"data.valid_ratio must be in (0, 1), got {valid_ratio}")
    if valid_choice not in get_args(ValidChoice):
        raise ValueError(f"data.valid_choice must be one of {', '.join(get_args(ValidChoice))}, got {valid_choice!r}")
    if valid_choice == "last" and split not in (None, "official"):
        raise ValueError(f"data.valid_choice last goes with data.split official only, got {split}")


def _split_parts(
    parts: Mapping[str, Interactions],
    split: SplitName,
    name: str,
    seed: int,
    valid_ratio: float,
    valid_choice: ValidChoice,
) -> DataSplit:
    """Split as ``official`` or ``given`` do, which keep the test part of the data."""
    needed, unwanted = ({"train", "test"}, {"valid"}) if split == "official" else ({"train", "valid"}, set())
    for part in sorted(needed - parts.keys()):
        raise ValueError(f"data.split {split} needs a {part} part, and {name} has {', '.join(parts)}")
    for part in sorted(unwanted & parts.keys()):
        raise ValueError(f"data.split {split} makes its own {part} part, and {name} has one: use given")

    source = parts["train"]
    if split == "official":
        if valid_choice == "last" and source.times is None:
            raise ValueError(f"data.valid_choice last needs times, and {name} has none")
        carve = partial(_carve, valid_ratio)
        labels = _label_pairs(source, _generator(seed, split), carve, timed=valid_choice == "last")
        train, valid = source.pairs.where(labels == _TRAIN), source.pairs.where(labels == _VALID)
    else:
        train, valid = source.pairs, parts["valid"].pairs.difference(source.pairs)
    nothing = source.pairs.where(np.zeros(source.pairs.nnz, dtype=np.bool_))
    test = parts["test"].pairs.difference(train.union(valid)) if "test" in parts else nothing
    pairs = sum(part.pairs.nnz + part.duplicates for part in parts.values())
    duplicates = pairs - train.nnz - valid.nnz - test.nnz
    return DataSplit(name, train, valid, test, source.user_ids, source.item_ids, duplicates)


def _by_shares(shares: Ratios, rank: _Ints, count: _Ints) -> _Ints:
    """Label pairs of users with ``count`` pairs by the shares of train, valid and test."""
    train, valid, _ = shares
    train_end = np.maximum(_round(train * count), 1)
    valid_end = np.maximum(_round((train + valid) * count), train_end)
    return (rank >= train_end).astype(np.int64) + (rank >= valid_end)


def _leave_one_out(rank: _Ints, count: _Ints) -> _Ints:
    """Label the last pair of each user with at least three as test and the one before it as valid."""
    return np.where(count < 3, _TRAIN, np.clip(rank - count + 3, _TRAIN, _TEST))


def _carve(valid_ratio: float, rank: _Ints, count: _Ints) -> _Ints:
    """Label a share of the pairs as valid, at least one of each user with two or more, and the others as train."""
    num_valid = np.minimum(np.maximum(_round(valid_ratio * count), 1), count - 1)
    return np.where(rank >= count - num_valid, _VALID, _TRAIN)


def _generator(seed: int, split: SplitName) -> np.random.Generator:
    """Return the random generator of one kind of split."""
    return np.random.default_rng([seed, get_args(SplitName).index(split)])


def _label_pairs(
    data: Interactions, generator: np.random.Generator, label: Callable[[_Ints, _Ints], _Ints], *, timed: bool
) -> npt.NDArray[np.uint8]:
    """Label each pair as train, valid or test, a block of users at a time.

    Args:
        data: The interactions.
        generator: Source of randomness.
        label: Labels of pairs, from the rank of each among its user's pairs and the number of these.
        timed: Whether pairs are ranked by time with random ties, where there are times; otherwise at random.

    Returns:
        ``(n,)`` labels.
    """
    labels = np.empty(data.pairs.nnz, dtype=np.uint8)
    degrees = data.pairs.degrees()
    for rows, entries in data.pairs.row_blocks():
        times = data.times[entries] if timed and data.times is not None else None
        labels[entries] = label(*_rank_within_row(degrees[rows], generator, times))
    return labels


def _rank_within_row(
    degrees: _Ints, generator: np.random.Generator, times: npt.NDArray[np.float64] | None
) -> tuple[_Ints, _Ints]:
    """Rank each pair among its user's pairs: at random, or by time with random ties.

    Returns:
        Two ``(n,)`` int64 arrays: the rank of each pair, from 0, and the number of its user's pairs.
    """
    rows = np.repeat(np.arange(len(degrees)), degrees)
    tie = generator.random(len(rows))
    order = np.lexsort((tie, rows) if times is None else (tie, times, rows))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    return rank, degrees[rows]


def _round(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Round to the nearest integer, halves up, despite the floating-point error of a share times a count."""
    rounded: npt.NDArray[np.int64] = np.floor(values + 0.5 + 1e-9).astype(np.int64)
    return rounded
