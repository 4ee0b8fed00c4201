import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bet_lightning.budget import Budget
from bet_lightning.methods.bet.families import BoundedSampler, Realization
from bet_lightning.table_format import TableShape


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(
    users=st.integers(1, 80),
    items=st.integers(1, 80),
    max_size=st.integers(1, 40),
    min_size=st.integers(0, 1),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    realization=st.sampled_from(["quantile", "draws"]),
)
def test_any_feasible_budget_is_met_exactly(
    users: int, items: int, max_size: int, min_size: int, fraction: float, seed: int, realization: Realization
) -> None:
    rows = users + items
    cap = min_size * rows + round(fraction * (max_size - min_size) * rows)
    sampler = BoundedSampler(users, items, cap, max_size, min_size, realization)
    actions = sampler.sample(8, generator(seed))
    sizes = torch.arange(1, max_size + 1)
    for counts, num_rows in ((actions.user_counts, users), (actions.item_counts, items)):
        assert (counts >= 0).all()
        assert (counts.sum(1) <= num_rows).all()
        if min_size == 1:
            assert (counts.sum(1) == num_rows).all()
    assert ((actions.user_counts + actions.item_counts) @ sizes == cap).all()
    orders = torch.randperm(users, generator=generator(seed)), torch.randperm(items, generator=generator(seed))
    by_row = actions.at(0).sizes(*orders)
    assert by_row.sum() == cap
    assert min_size <= by_row.min() <= by_row.max() <= max_size
    assert (by_row[:users][orders[0]].diff() <= 0).all()  # monotone in popularity
    assert (by_row[users:][orders[1]].diff() <= 0).all()


@pytest.mark.parametrize("keep", [0.5, 0.2, 0.1, 0.05, 0.01])
def test_ten_thousand_actions_on_gowallas_counts(keep: float) -> None:
    users, items, max_size = 29_858, 40_981, 128
    cap = Budget(keep_ratio=keep).cap(TableShape(users, items, max_size))
    actions = BoundedSampler(users, items, cap, max_size).sample(10_000, generator())
    used = (actions.user_counts + actions.item_counts) @ torch.arange(1, max_size + 1)
    assert used.unique().tolist() == [cap]


def test_same_seed_same_actions() -> None:
    sampler = BoundedSampler(50, 70, 600, 16)
    first, again, other = (sampler.sample(5, generator(seed)) for seed in (1, 1, 2))
    assert first.user_counts.equal(again.user_counts)
    assert not first.user_counts.equal(other.user_counts)


def test_user_share_covers_what_is_feasible() -> None:
    share = BoundedSampler(100, 100, 2_000, 16).sample(2_000, generator()).user_share
    assert share.min() == pytest.approx(0.2, abs=0.01)  # items can hold 1,600 of 2,000
    assert share.max() == pytest.approx(0.8, abs=0.01)


def test_infeasible_cap() -> None:
    with pytest.raises(ValueError, match=r"cap must be in \[10, 40\] for 10 rows of size 1 to 4, got 41"):
        BoundedSampler(4, 6, 41, 4)
