from __future__ import annotations

import pytest
import torch

from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.families import EvenDraw, SpectralDraw, SpectralSampler, Spectrum
from bet_lightning.methods.bet.group_predictor import GroupPredictor

USERS, ITEMS, MAX_SIZE = 300, 500, 8
CAP = 2_000


def make_sampler() -> SpectralSampler:
    generator = torch.Generator().manual_seed(0)
    frequency = torch.randint(0, 200, (USERS + ITEMS,), generator=generator)
    energy = torch.rand(USERS + ITEMS, MAX_SIZE, generator=generator).pow(3) * frequency.sqrt()[:, None]
    return SpectralSampler(Spectrum(energy, frequency, USERS), CAP)


@pytest.mark.parametrize(
    ("share", "exponent", "evenness"),
    [(0.5, 0.0, 0.0), (0.3, -0.7, 0.0), (0.7, 0.9, 0.0), (0.4, 0.5, 0.5), (0.5, 0, 1)],
)
def test_groups_describe_the_sizes_that_are_made(share: float, exponent: float, evenness: float) -> None:
    sampler = make_sampler()
    action = sampler.make(share, exponent, evenness)
    drawn = torch.tensor([[share], [exponent], [evenness]], dtype=torch.float64)
    sets = sampler.sets(torch.tensor([CAP]), *drawn)
    sizes = torch.arange(1.0, MAX_SIZE + 1)
    for side, tails, counts, cap in zip(
        sampler.spectrum.sides, sampler.tails, sets, (share * CAP, CAP - share * CAP), strict=True
    ):
        by_group = counts[0]
        torch.testing.assert_close(by_group.sum(0), torch.bincount(tails.groups).float())  # every row has a size
        assert float(by_group.sum(1) @ sizes) == pytest.approx(cap, rel=1e-4)
        exact = torch.zeros(MAX_SIZE, tails.num_groups)
        exact.index_put_((action.sizes(*[torch.empty(0)] * 2)[side] - 1, tails.groups), torch.ones(()), accumulate=True)
        assert float((by_group - exact).abs().sum()) / 2 < 0.1 * len(tails.groups)


def test_candidates_gather_around_the_best() -> None:
    sampler = make_sampler()
    low, high = sampler.shares
    best = sampler.make(0.6, 0.5, 0.3)
    drawn = sampler.sample(200, torch.Generator().manual_seed(1), [best])
    near = drawn.user_share[:100]
    assert float((near - 0.6).abs().mean()) < 0.1 < float((drawn.user_share[100:] - 0.6).abs().mean())
    at_the_bound = sampler.sample(200, torch.Generator().manual_seed(1), [sampler.make(low, 1.5, 0.0)])
    assert len(at_the_bound.user_share.unique()) == len(at_the_bound.exponent.unique()) == 200
    assert low <= float(at_the_bound.user_share.min()) and float(at_the_bound.exponent.max()) <= 2.5
    assert len(at_the_bound.evenness.unique()) == 200
    assert float(at_the_bound.evenness.min()) >= 0 and float(at_the_bound.evenness.max()) < 1
    assert low <= float(drawn.user_share.min()) and float(drawn.user_share.max()) <= high
    both = sampler.sample(200, torch.Generator().manual_seed(1), [best, sampler.make(0.2, 0.5, 0.3)]).user_share[:100]
    assert float((both[::2] - 0.6).abs().mean()) < 0.1 and float((both[1::2] - 0.2).abs().mean()) < 0.1


def test_uniform_candidates_have_one_size_a_side() -> None:
    sampler = make_sampler()
    uniform = SpectralSampler(sampler.spectrum, CAP, even=True)
    many = uniform.sample(500, torch.Generator().manual_seed(3))
    assert all(float(sets.min()) == 0 for sets in many.sets[:2])  # rounding must not leave less than no rows
    drawn = uniform.sample(5, torch.Generator().manual_seed(1), [uniform.make(0.5, 0.0, 1.0)])
    for index in range(5):
        action = drawn.at(index)
        assert isinstance(action.draw, EvenDraw)
        assert action.row_sizes is not None and action.params == CAP
        for side in sampler.spectrum.sides:
            assert int(action.row_sizes[side].max()) - int(action.row_sizes[side].min()) <= 1


def test_chosen_candidates_spend_the_cap() -> None:
    sampler = make_sampler()
    drawn = sampler.sample(20, torch.Generator().manual_seed(2))
    for index in range(20):
        action = drawn.at(index)
        assert action.params == CAP
        assert action.row_sizes is not None
        assert int(action.row_sizes.sum()) == CAP
        assert action.as_dict()["params"] == CAP


def test_another_budget_shares_the_spectrum() -> None:
    sampler = make_sampler()
    other = sampler.with_cap(1_000)
    assert (sampler.cap, other.cap) == (CAP, 1_000) and other.tails is sampler.tails
    actions = [sampler.make(0.5, 0.2, 0.1), other.make(0.4, 0.1, 0.7)]
    assert [action.params for action in actions] == [CAP, 1_000]
    for seen_by in (sampler, other):
        for both, users_and_items in zip(seen_by.sets_of(actions), other.sets_of(actions[1:]), strict=True):
            torch.testing.assert_close(both[1:], users_and_items)
    with pytest.raises(ValueError, match=r"cap must be in \[800, 6400\] for 800 rows of size 1 to 8, got 799"):
        sampler.with_cap(799)


def test_predictor_equals_the_formula() -> None:
    sampler = make_sampler()
    users, items = sampler.tails
    predictor = GroupPredictor(users.features, items.features, MAX_SIZE)
    predictor.reset_parameters(torch.Generator().manual_seed(3))
    user_sets, item_sets, _ = sampler.sample(3, torch.Generator().manual_seed(4)).sets
    encoded = predictor.encode(user_sets, item_sets, torch.tensor([1.0, 0.5, 0.25]))
    for action in range(3):
        vectors = []
        for size in range(MAX_SIZE):
            sums, rows = torch.zeros(16), 0.0
            for counts, rho, tails in (
                (user_sets, predictor.rho_users, users),
                (item_sets, predictor.rho_items, items),
            ):
                for group in range(tails.num_groups):
                    sums = sums + counts[action, size, group] * rho(tails.features[group])
                    rows += float(counts[action, size, group])
            if rows:
                vectors.append(predictor.mu(torch.cat([sums / rows, torch.tensor([(size + 1) / MAX_SIZE])])))
        numbers = torch.tensor([CAP / MAX_SIZE / (USERS + ITEMS), 0.5**action])
        expected = torch.cat([torch.stack(vectors).mean(0), numbers])
        torch.testing.assert_close(encoded[action], expected, rtol=1e-4, atol=1e-5)


def test_actions_of_any_form_are_counted_by_groups() -> None:
    sampler = make_sampler()
    own = sampler.make(0.5, 0.2, 0.1)
    sizes = torch.full((USERS + ITEMS,), 2)
    sizes[:3] = torch.tensor([0, 8, 4])
    rule = Action.from_sizes(sizes, USERS, MAX_SIZE, RuleDraw(0.4, "uniform"))
    assert sampler.describes(rule) and not sampler.covers(rule) and sampler.covers(own)
    for both, alone, side, tails in zip(
        sampler.sets_of([own, rule])[:2],
        sampler.sets_of([own])[:2],
        sampler.spectrum.sides,
        sampler.tails,
        strict=True,
    ):
        torch.testing.assert_close(both[:1], alone)
        expected = torch.zeros(MAX_SIZE + 1, tails.num_groups)
        expected.index_put_((sizes[side], tails.groups), torch.ones(()), accumulate=True)
        assert both[1].equal(expected[1:])


def test_spectral_actions_include_even_ones() -> None:
    sampler = make_sampler()
    even, spectral = sampler.evenly().make(0.5, 0.0, 1.0), sampler.make(0.5, 0.0, 0.2)
    assert sampler.covers(even) and sampler.covers(spectral)
    assert sampler.evenly().covers(even) and not sampler.evenly().covers(spectral)
    assert not SpectralDraw(0.5, 0.0, 0.9).is_near(EvenDraw(0.5, 0.0, 0.9), 0.1)
    assert SpectralDraw(0.5, 0.0, 0.9).is_near(SpectralDraw(0.45, 1.0, 0.85), 0.1)
    assert not SpectralDraw(0.5, 0.0, 0.9).is_near(SpectralDraw(0.5, 0.0, 0.7), 0.1)
