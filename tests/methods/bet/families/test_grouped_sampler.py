from __future__ import annotations

import torch

from bet_lightning.methods.bet.families import BoundedSampler, PopularityDraw, SpectralDraw, SpectralSampler, Spectrum
from bet_lightning.methods.bet.families.grouped_sampler import GroupedSampler
from bet_lightning.methods.bet.group_predictor import GroupPredictor
from bet_lightning.methods.bet.profile import popularity_order
from bet_lightning.methods.bet.search import BudgetedSearch

USERS, ITEMS, MAX_SIZE, CAP = 300, 500, 8, 2_000


def make_samplers(min_size: int = 1) -> tuple[SpectralSampler, GroupedSampler, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    frequency = torch.randint(0, 40, (USERS + ITEMS,), generator=generator)
    energy = torch.rand(USERS + ITEMS, MAX_SIZE, generator=generator)
    spectral = SpectralSampler(Spectrum(energy, frequency, USERS), CAP, min_size)
    orders = [popularity_order(side) for side in frequency.split([USERS, ITEMS])]
    bounded = BoundedSampler(USERS, ITEMS, CAP, MAX_SIZE, min_size)
    return spectral, GroupedSampler(bounded, orders, spectral.tails), orders


def test_sets_count_the_rows_of_each_group() -> None:
    for min_size in (0, 1):
        spectral, grouped, orders = make_samplers(min_size)
        drawn = grouped.sample(5, torch.Generator().manual_seed(1))
        actions = [drawn.at(index) for index in range(5)]
        for side, sets, again, tails in zip(
            spectral.spectrum.sides, drawn.sets[:2], grouped.sets_of(actions)[:2], spectral.tails, strict=True
        ):
            torch.testing.assert_close(sets, again)
            for index, action in enumerate(actions):
                sizes = action.sizes(*orders)[side]
                expected = torch.zeros(MAX_SIZE + 1, tails.num_groups)
                expected.index_put_((sizes, tails.groups), torch.ones(()), accumulate=True)
                torch.testing.assert_close(sets[index], expected[1:])


def test_another_budget() -> None:
    _, grouped, _ = make_samplers()
    other = grouped.with_cap(1_000)
    assert (grouped.cap, other.cap) == (CAP, 1_000)
    assert other.sample(1, torch.Generator()).at(0).params == 1_000


def test_families_take_turns_in_one_search() -> None:
    spectral, grouped, _ = make_samplers()
    users, items = spectral.tails
    search = BudgetedSearch([spectral, grouped], GroupPredictor(users.features, items.features, MAX_SIZE))
    for _ in range(6):
        proposal = search.propose()
        search.observe(proposal, proposal.action.draw.user_share)
    draws = [type(proposal.action.draw) for proposal, _ in search.probed]
    assert draws == [SpectralDraw, PopularityDraw] * 3
    for sampler, draw in ((spectral, SpectralDraw), (grouped, PopularityDraw)):
        assert {type(proposal.action.draw) for proposal, _ in search.leaders(sampler)} == {draw}
    for index, sampler in ((1, grouped), (4, spectral)):
        action = search.probed[index][0].action
        users_sets, _, precision = search._sets(action)
        assert precision.tolist() == [1.0]  # float32
        torch.testing.assert_close(users_sets, sampler.sets_of([action]).users)
