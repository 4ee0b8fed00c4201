import json

import numpy as np

from bet_lightning.data import Csr, DataSplit, Interactions

IDS = np.arange(3)


def test_duplicates_keep_the_earliest_time():
    data = Interactions.from_pairs(
        np.array([1, 0, 1, 1]), np.array([2, 1, 2, 0]), IDS, IDS, np.array([5.0, 7.0, 3.0, 9.0])
    )
    assert data.users.tolist() == [0, 1, 1]
    assert data.items.tolist() == [1, 0, 2]
    assert data.times.tolist() == [7.0, 9.0, 3.0]
    assert data.duplicates == 1


def test_merge_counts_duplicates_within_and_between_parts():
    first = Interactions.from_pairs(np.array([0, 0]), np.array([1, 1]), IDS, IDS)
    second = Interactions.from_pairs(np.array([0, 2]), np.array([1, 2]), IDS, IDS)
    merged = Interactions.merge([first, second])
    assert list(zip(merged.users, merged.items, strict=True)) == [(0, 1), (2, 2)]
    assert merged.duplicates == 2
    assert merged.times is None


def test_merge_drops_times_that_a_part_lacks():
    pair = np.array([0]), np.array([1]), IDS, IDS
    timed, plain = Interactions.from_pairs(*pair, np.array([4.0])), Interactions.from_pairs(*pair)
    assert Interactions.merge([timed, timed]).times.tolist() == [4.0]
    assert Interactions.merge([timed, plain]).times is None


def make_split(test_item: int = 2, ids: np.ndarray = IDS) -> DataSplit:
    train = Csr.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 3, 3)
    valid = Csr.from_pairs(np.array([0]), np.array([2]), 3, 3)
    test = Csr.from_pairs(np.array([1]), np.array([test_item]), 3, 3)
    return DataSplit("toy", train, valid, test, ids, IDS, 4)


def test_statistics_are_plain_python():
    split = make_split()
    assert json.loads(json.dumps(split.statistics())) == {
        "name": "toy",
        "users": 3,
        "items": 3,
        "interactions": {"train": 3, "valid": 1, "test": 1},
        "duplicates": 4,
        "users_without_train": 1,
        "items_without_train": 1,
        "hash": split.hash,
    }
    assert split.user_frequency.tolist() == [2, 1, 0]
    assert split.item_frequency.tolist() == [1, 2, 0]


def test_hash_depends_on_the_pairs_and_parts_only():
    split = make_split()
    assert len(split.hash) == 64
    assert split.hash == make_split(ids=np.array(["a", "b", "c"], dtype=object)).hash
    assert split.hash != make_split(test_item=0).hash
    swapped = DataSplit("toy", split.train, split.test, split.valid, IDS, IDS, 4)
    assert split.hash != swapped.hash


def test_describe_names_what_is_odd() -> None:
    train = Csr.from_pairs(np.array([0, 0]), np.array([0, 1]), 2, 4)
    other = Csr.from_pairs(np.array([1]), np.array([2]), 2, 4)
    nothing = Csr.from_keys(np.empty(0, dtype=np.int64), 2, 4)
    split = DataSplit("tiny", train, other, nothing, np.arange(2), np.arange(4), 3)
    assert split.describe() == (
        "tiny: 2 users, 4 items, interactions 2 train, 1 valid; 1 users without train items; "
        "1 users without valid items; 2 items never trained; 3 repeated interactions merged"
    )
