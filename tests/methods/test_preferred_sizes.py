import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.methods.preferred_sizes import preferred_sizes, untrained_last

CANDIDATES = torch.tensor([2, 4, 8])
VALUES = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 2.0])  # with many equal ones


@given(st.data())
def test_any_cap_is_met_exactly_and_within_bounds(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 12))
    preference = torch.tensor(data.draw(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=rows, max_size=rows)))
    cap = data.draw(st.integers(rows, 8 * rows))
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    sizes = preferred_sizes(preference, CANDIDATES, order, cap, 1)
    assert int(sizes.sum()) == cap and sizes.min() >= 1 and sizes.max() <= 8
    between = [size for size in sizes.tolist() if size not in (([1, 2]) if cap <= 2 * rows else [2, 4, 8])]
    assert len(between) <= 1  # one row has what is left


@pytest.mark.parametrize("cap", range(6, 25))
def test_rows_that_turn_at_one_price_meet_any_cap(cap: int) -> None:
    preference = torch.tensor([[-3.0, -1.0, -1.0], [-3.0, -0.5, -0.5], [-1.0, -3.0, -1.0]])
    assert int(preferred_sizes(preference, CANDIDATES, torch.arange(3), cap, 1).sum()) == cap


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=12), st.integers(-12, 12))
def test_sizes_are_those_at_the_price_that_meets_the_cap(rows: list[tuple[float, float, float]], eighths: int) -> None:
    preference = torch.tensor(rows)
    at_price = CANDIDATES[(preference - eighths / 8 * CANDIDATES).argmax(1)]  # of equal ones the smallest
    order = torch.arange(len(rows))
    assert preferred_sizes(preference, CANDIDATES, order, int(at_price.sum()), 1).equal(at_price)


def test_rows_get_what_they_prefer_where_that_is_the_cap() -> None:
    preference = torch.tensor([[0.0, 1.0, 0.5], [3.0, 2.0, 1.0], [0.0, 0.1, 0.2], [0.0, 0.9, 0.8]])
    preferred = CANDIDATES[preference.argmax(1)]
    assert preferred.tolist() == [4, 2, 8, 4]
    assert preferred_sizes(preference, CANDIDATES, torch.arange(4), 18, 1).equal(preferred)


def test_those_who_lose_the_least_a_parameter_give_way() -> None:
    preference = torch.tensor([[0.0, 4.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    order = torch.tensor([1, 2, 0])
    assert preferred_sizes(preference, CANDIDATES, order, 10, 1).tolist() == [4, 2, 4]
    assert preferred_sizes(preference, CANDIDATES, order, 9, 1).tolist() == [4, 2, 3]
    assert preferred_sizes(preference, CANDIDATES, order, 8, 1).tolist() == [4, 2, 2]


def test_equal_rows_turn_in_their_order() -> None:
    preference = torch.zeros(4, 3)
    order = torch.tensor([3, 1, 0, 2])
    assert preferred_sizes(preference, CANDIDATES, order, 8 + 6 + 3, 1).tolist() == [2, 5, 2, 8]
    assert preferred_sizes(preference, CANDIDATES, order, 6, 1).tolist() == [1, 2, 1, 2]


@given(cap=st.integers(4, 32))
def test_rows_without_training_data_grow_last(cap: int) -> None:
    frequency = torch.tensor([3, 0, 1, 0])
    preference = untrained_last(torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 1], [0, 0, 9]]), CANDIDATES, frequency)
    order = frequency.argsort(descending=True, stable=True)
    sizes = preferred_sizes(preference, CANDIDATES, order, cap, 1)
    assert int(sizes.sum()) == cap
    assert int(sizes[[1, 3]].max()) <= 2 or sizes[[0, 2]].tolist() == [8, 8]
