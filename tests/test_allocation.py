import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.allocation import Allocation, allocate, between, split_cap
from bet_lightning.table_format import TableFormat, TableShape


@given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), min_size=1, max_size=60),
    min_size=st.integers(0, 1),
    span=st.integers(1, 64),
    fraction=st.floats(0, 1),
)
def test_allocate_is_exact_bounded_and_monotone(
    weights: list[float], min_size: int, span: int, fraction: float
) -> None:
    low, high = min_size * len(weights), (min_size + span) * len(weights)
    cap = low + round(fraction * (high - low))
    weights.sort(reverse=True)
    sizes = allocate(weights, cap, min_size=min_size, max_size=min_size + span)
    assert sizes.sum() == cap
    assert sizes.min() >= min_size
    assert sizes.max() <= min_size + span
    assert (np.diff(sizes) <= 0).all()


def test_allocate_is_proportional_by_largest_remainder() -> None:
    assert allocate([4, 2, 1, 1], 80, max_size=64).tolist() == [40, 20, 10, 10]
    assert allocate([10, 10, 10], 10, max_size=8).tolist() == [4, 3, 3]
    assert allocate([100, 1, 1], 30, max_size=16).tolist() == [16, 7, 7]  # what the cap cuts off goes on


@pytest.mark.parametrize(("weights", "cap"), [([1.0, 2.0], 1), ([1.0], 9), ([-1.0, 1.0], 4), ([float("nan"), 1.0], 4)])
def test_allocate_refuses(weights: list[float], cap: int) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        allocate(weights, cap, max_size=8)


@given(
    users=st.integers(1, 50),
    items=st.integers(1, 50),
    share=st.floats(0, 1),
    fraction=st.floats(0, 1),
    low=st.integers(0, 1),
)
def test_both_sides_can_spend_their_share(users: int, items: int, share: float, fraction: float, low: int) -> None:
    rows = users + items
    cap = low * rows + round(fraction * (6 - low) * rows)
    user_cap = split_cap(cap, share, users, items, min_size=low, max_size=6)
    assert low * users <= user_cap <= 6 * users and low * items <= cap - user_cap <= 6 * items
    nearest = min(
        (
            each
            for each in range(cap + 1)
            if low * users <= each <= 6 * users and low * items <= cap - each <= 6 * items
        ),
        key=lambda each: abs(each - round(share * cap)),
    )
    assert abs(user_cap - round(share * cap)) == abs(nearest - round(share * cap))


def test_rows_have_their_larger_size_in_order_until_the_cap() -> None:
    lower, upper = torch.tensor([1, 1, 2, 0]), torch.tensor([4, 3, 2, 5])
    order = torch.tensor([3, 2, 0, 1])
    assert between(lower, upper, order, 4).equal(lower)
    assert between(lower, upper, order, 8).tolist() == [1, 1, 2, 4]
    assert between(lower, upper, order, 11).tolist() == [3, 1, 2, 5]
    assert between(lower, upper, order, 14).equal(upper) and between(lower, upper, order, 99).equal(upper)


def test_an_allocation_says_what_it_costs() -> None:
    shape = TableShape(2, 2, 8)
    some = Allocation(torch.tensor([1, 2, 3, 5]))
    assert some.params == 11
    assert some.num_bytes(shape) == 4 * 11 + 4  # a byte for the size of each row
    assert Allocation(some.sizes, TableFormat("fp16")).num_bytes(shape) == 2 * 11 + 4
    assert Allocation(torch.full((4,), 8)).num_bytes(shape) == 4 * 32  # a full table needs no sizes
    # a word of eleven values, a step a row, a scale a column, a word of ten sizes
    assert Allocation(some.sizes, TableFormat("int3")).num_bytes(shape) == 4 + 4 + 8 + 4
    # the same with two rows that have values: a step each, and a bit a row
    assert Allocation(torch.tensor([0, 2, 0, 5]), TableFormat("int3")).num_bytes(shape) == 4 + 2 + 8 + 4 + 1


def test_a_key_tells_allocations_apart() -> None:
    some = Allocation(torch.tensor([1, 2, 3, 5]))
    assert some.key == Allocation(torch.tensor([1, 2, 3, 5])).key
    assert (
        len({some.key, Allocation(torch.tensor([1, 2, 5, 3])).key, Allocation(some.sizes, TableFormat("int3")).key})
        == 3
    )
