from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.data import Interactions, SplitName, split_interactions

NUM_USERS, NUM_ITEMS = 5, 30
pair_sets = st.sets(st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1)), min_size=1)
MERGING = ["paper", "ratio", "temporal", "leave_one_out"]


def make(pairs, times=None):
    users, items = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    times = None if times is None else np.array(times, dtype=np.float64)
    return Interactions.from_pairs(users, items, np.arange(NUM_USERS), np.arange(NUM_ITEMS), times)


def timed(pairs):
    return make(pairs, [(7 * item) % 31 for _, item in pairs])


def pairs_of(csr):
    return set(zip(csr.rows().tolist(), csr.indices.tolist(), strict=True))


def parts_of(split):
    return [pairs_of(csr) for csr in (split.train, split.valid, split.test)]


def grown(num_items):
    """One user with this many items."""
    return {(0, item) for item in range(num_items)}


@given(pair_sets, st.sampled_from(MERGING), st.integers(0, 3))
def test_merging_splits_are_disjoint_complete_and_seeded(pairs, split, seed):
    pairs = sorted(pairs)
    result = split_interactions(timed(pairs), split, name="x", seed=seed)
    parts = parts_of(result)
    assert all(not a & b for a, b in combinations(parts, 2))
    assert set.union(*parts) == set(pairs)
    assert {user for user, _ in parts[0]} == {user for user, _ in pairs}
    assert result.train.num_rows == NUM_USERS and result.test.num_cols == NUM_ITEMS
    shuffled = split_interactions(timed(pairs[::-1]), split, name="y", seed=seed)
    assert result.hash == shuffled.hash


def test_official_carves_the_last_pairs():
    times = [7, 3, 9, 1, 8, 2, 6, 4, 5, 0]
    parts = {"train": make(sorted(grown(10)), times), "test": make({(1, 0)})}
    result = split_interactions(parts, "official", name="x", valid_ratio=0.3, valid_choice="last")
    assert pairs_of(result.valid) == {(0, 0), (0, 2), (0, 4)}
    assert result.train.nnz == 7


@given(pair_sets, pair_sets, st.floats(0.01, 0.9))
def test_official_carves_validation_from_train(train, test, valid_ratio):
    parts = {"train": make(train), "test": make(test)}
    result = split_interactions(parts, "official", name="x", valid_ratio=valid_ratio)
    found_train, found_valid, found_test = parts_of(result)
    assert found_train | found_valid == train and not found_train & found_valid
    assert found_test == test - train
    assert result.duplicates == len(train & test)
    for user in range(NUM_USERS):
        count = sum(u == user for u, _ in train)
        expected = min(max(1, int(valid_ratio * count + 0.5)), count - 1) if count else 0
        assert sum(u == user for u, _ in found_valid) == expected


@given(pair_sets, pair_sets, pair_sets)
def test_given_keeps_the_first_of_overlapping_parts(train, valid, test):
    parts = {"train": make(train), "valid": make(valid), "test": make(test)}
    result = split_interactions(parts, "given", name="x")
    assert parts_of(result) == [train, valid - train, test - train - valid]
    kept = sum(map(len, parts_of(result)))
    assert result.duplicates == len(train) + len(valid) + len(test) - kept


@pytest.mark.parametrize(
    ("split", "num_items", "sizes"),
    [
        ("paper", 1, (1, 0, 0)),
        ("paper", 2, (1, 1, 0)),
        ("paper", 4, (2, 1, 1)),
        ("paper", 20, (10, 5, 5)),
        ("ratio", 1, (1, 0, 0)),
        ("ratio", 10, (8, 1, 1)),
        ("ratio", 30, (24, 3, 3)),
        ("leave_one_out", 2, (2, 0, 0)),
        ("leave_one_out", 3, (1, 1, 1)),
        ("leave_one_out", 9, (7, 1, 1)),
    ],
)
def test_sizes(split, num_items, sizes):
    result = split_interactions(make(grown(num_items)), split, name="x")
    assert tuple(map(len, parts_of(result))) == sizes


@pytest.mark.parametrize("split", ["temporal", "leave_one_out"])
def test_later_parts_are_later(split):
    pairs = sorted(grown(20) | {(1, item) for item in range(9)})
    train, valid, test = parts_of(split_interactions(timed(pairs), split, name="x"))
    for user in (0, 1):
        for earlier, later in ((train, valid), (valid, test)):
            latest = max((7 * item) % 31 for u, item in earlier if u == user)
            assert latest <= min((7 * item) % 31 for u, item in later if u == user)


@pytest.mark.parametrize("split", ["paper", "ratio", "leave_one_out"])
def test_seed_changes_random_splits(split):
    hashes = {split_interactions(make(grown(30)), split, name="x", seed=seed).hash for seed in range(4)}
    assert len(hashes) == 4


def test_time_order_does_not_depend_on_the_seed_without_ties():
    data = make(sorted(grown(30)), range(30))
    assert len({split_interactions(data, "temporal", name="x", seed=seed).hash for seed in range(3)}) == 1


def test_random_split_is_uniform():
    data = make(grown(4))
    valid = [split_interactions(data, "paper", name="x", seed=seed).valid.indices[0] for seed in range(400)]
    counts = np.bincount(valid, minlength=4)
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_paper_merges_all_parts():
    parts = {"train": make(grown(6)), "valid": make({(0, 6)}), "test": make({(0, 5), (0, 7)})}
    result = split_interactions(parts, "paper", name="x")
    assert set.union(*parts_of(result)) == grown(8)
    assert result.duplicates == 1


@pytest.mark.parametrize(
    ("parts", "split", "options", "message"),
    [
        (
            "train",
            "random",
            {},
            "data.split must be one of paper, official, ratio, temporal, leave_one_out, given",
        ),
        ("train", "ratio", {"seed": -1}, "data.seed must not be negative, got -1"),
        ("train", "ratio", {"ratios": (0.5, 0.5, 0.5)}, "data.ratios must be three shares that sum to 1"),
        ("train", "ratio", {"ratios": (0.9, 0.0, 0.1)}, "data.ratios must be three shares that sum to 1"),
        ("train", "ratio", {"ratios": (0.9, 0.2, -0.1)}, "data.ratios must be three shares that sum to 1"),
        ("train", "ratio", {"ratios": (0.9, 0.1)}, "data.ratios must be three shares that sum to 1"),
        ("train", "official", {"valid_ratio": 1.2}, r"data.valid_ratio must be in \(0, 1\), got 1.2"),
        (
            "train",
            "official",
            {"valid_ratio": float("nan")},
            r"data.valid_ratio must be in \(0, 1\), got nan",
        ),
        ("train", "temporal", {}, "data.split temporal needs times, and toy has none"),
        ("train test", "official", {"valid_choice": "last"}, "data.valid_choice last needs times, and toy has none"),
        ("train", "ratio", {"valid_choice": "last"}, "data.valid_choice last goes with data.split official only"),
        ("train", "official", {"valid_choice": "late"}, "data.valid_choice must be one of random, last, got 'late'"),
        ("train", "official", {}, "data.split official needs a test part, and toy has train"),
        ("train test", "given", {}, "data.split given needs a valid part, and toy has train, test"),
        ("train valid test", "official", {}, "data.split official makes its own valid part, and toy has one"),
    ],
)
def test_errors(parts, split, options, message):
    data = {part: make(grown(5)) for part in parts.split()}
    with pytest.raises(ValueError, match=message):
        split_interactions(data, split, name="toy", **options)


def test_split_names():
    assert set(get_args(SplitName)) == {*MERGING, "official", "given"}
