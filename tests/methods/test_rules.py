from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.methods.rules import FileSizes, PopularitySizes, RandomSizes, SizeRule, UniformSizes, write_sizes

USERS, ITEMS = torch.tensor([5, 9, 1, 0]), torch.tensor([7, 3, 2, 2, 1])


@given(
    cap=st.integers(9, 9 * 16),
    rule=st.sampled_from(
        [UniformSizes(), UniformSizes(0.7), RandomSizes(3), PopularitySizes(0.5), PopularitySizes(2.0, 0.9)]
    ),
)
def test_rules_spend_the_cap_exactly(cap: int, rule: SizeRule) -> None:
    sizes = rule.sizes(USERS, ITEMS, cap, 16)
    assert sizes.sum() == cap
    assert sizes.min() >= 1
    assert sizes.max() <= 16


def test_uniform_gives_the_rest_to_the_most_frequent() -> None:
    assert UniformSizes().sizes(USERS, ITEMS, 20, 16).tolist() == [2, 3, 2, 2, 3, 2, 2, 2, 2]


def test_two_whole_numbers() -> None:
    rule = PopularitySizes(exponent=0.0, user_share=0.8)
    assert rule.sizes(USERS, ITEMS, 25, 16).tolist() == [5, 5, 5, 5, 1, 1, 1, 1, 1]


def test_popularity_is_monotone() -> None:
    sizes = PopularitySizes(0.5).sizes(USERS, ITEMS, 50, 16)
    frequency = torch.cat([USERS, ITEMS])
    assert (sizes[frequency.argsort(descending=True, stable=True)].diff() <= 0).all()


def test_random_is_seeded() -> None:
    first, again, other = (RandomSizes(seed).sizes(USERS, ITEMS, 50, 16) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_infeasible_share_moves_to_the_nearest() -> None:
    sizes = UniformSizes(user_share=0.999).sizes(USERS, ITEMS, 30, 16)
    assert sizes[4:].tolist() == [1, 1, 1, 1, 1]


def test_share_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"user_share must be in \(0, 1\), got 1.5"):
        PopularitySizes(user_share=1.5)


def test_file_round_trip(tmp_path: Path) -> None:
    sizes = UniformSizes().sizes(USERS, ITEMS, 20, 16)
    write_sizes(tmp_path / "sizes.txt", sizes)
    assert FileSizes(str(tmp_path / "sizes.txt")).sizes(USERS, ITEMS, 20, 16).equal(sizes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n" * 8, "8 sizes for 9 rows"),
        ("1\n" * 8 + "17\n", "size 17 is not in 1..16"),
        ("1\n" * 8 + "0\n", "size 0 is not in 1..16"),
        ("3\n" * 9, "sum to 27, over the budget of 20"),
        ("one\n", "expected one integer a line"),
        ("1.5\n", "expected one integer a line"),
        ("", "is empty"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        FileSizes(str(path)).sizes(USERS, ITEMS, 20, 16)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt: expected one integer a line"):
        FileSizes(str(tmp_path / "none.txt")).sizes(USERS, ITEMS, 20, 16)
