from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from bet_lightning.allocation import Allocation
from bet_lightning.budget import Budget
from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.families import (
    EvenFamily,
    Family,
    MixedFamily,
    PopularityFamily,
    Rows,
    SpectralFamily,
)
from bet_lightning.methods.bet.families.formats import FormatSampler
from bet_lightning.methods.bet.search import Sampler
from bet_lightning.methods.bet.set_predictor import SetPredictor
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.table_format import TableShape

USERS, ITEMS, WIDTH = 120, 150, 16
SHAPE = TableShape(USERS, ITEMS, WIDTH)
FAMILIES = [SpectralFamily(), PopularityFamily(), MixedFamily(), EvenFamily()]
NAMES = [type(family).__name__ for family in FAMILIES]


def rows_of() -> Rows:
    generator = torch.Generator().manual_seed(0)
    frequency = torch.randint(1, 60, (USERS + ITEMS,), generator=generator)
    return Rows(frequency[:USERS], frequency[USERS:], WIDTH)


def make_space(family: Family, budgets: Sequence[ResolvedBudget], min_size: int) -> tuple[list[Sampler], SetPredictor]:
    generator = torch.Generator().manual_seed(1)
    gains = torch.rand(USERS + ITEMS, WIDTH, generator=generator).pow(3)
    gains[::7] *= 1e-6  # worth nothing: left empty where they may be
    return family.search_space(rows_of(), gains, budgets, min_size, False)


@pytest.mark.parametrize("min_size", [0, 1])
@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_candidates_of_all_formats_are_within_the_bytes(family: Family, min_size: int) -> None:
    if min_size == 0 and isinstance(family, PopularityFamily):
        min_size = 1  # the paper's actions leave no row empty
    budget = Budget(bytes=900).resolve(SHAPE, min_size)
    samplers, predictor = make_space(family, [budget], min_size)
    assert len(samplers) == (2 if isinstance(family, MixedFamily) else 1)
    for sampler in samplers:
        assert isinstance(sampler, FormatSampler) and sampler.cap == 900
        batch = sampler.sample(60, torch.Generator().manual_seed(2))
        forms = set()
        for index in range(60):
            action = batch.at(index)
            forms.add(action.form)
            sizes = action.sizes(*rows_of().orders)
            cost = Allocation(sizes, action.form).num_bytes(SHAPE)
            filled = sizes[sizes > 0]
            # as planned: where sizes happen to lie on a coarser grid, they are written in less
            planned = action.form.value_bytes(int(sizes.sum())) + action.form.row_bytes(SHAPE, len(filled))
            assert 900 - 4 < planned <= 900 or int(filled.min()) == WIDTH
            assert cost <= planned or int(filled.min()) == WIDTH
            assert cost <= 900 and action.budget_bytes == action.amount == 900
            assert int(sizes.min()) >= min_size and action.params == int(sizes.sum())
            assert sampler.covers(action) and sampler.describes(action)
        assert forms == set(budget.formats)
        sets = batch.sets
        made = sampler.sets_of([batch.at(index) for index in range(60)])
        assert sets.precision.equal(made.precision)
        assert sets.precision.tolist() == pytest.approx([batch.at(index).form.precision for index in range(60)])
        assert predictor(*sets).shape == (60,) and bool(predictor(*sets).isfinite().all())
        assert sets.users.shape == made.users.shape and sets.items.shape == made.items.shape


def test_half_of_the_candidates_are_held_as_the_best_are() -> None:
    budget = Budget(bytes=900).resolve(SHAPE, 0)
    (sampler,), _ = make_space(SpectralFamily(), [budget], 0)
    plain = sampler.sample(1, torch.Generator().manual_seed(3))
    best = [
        a
        for a in (sampler.sample(40, torch.Generator().manual_seed(4)).at(i) for i in range(40))
        if a.form == budget.formats[1]
    ][:2]
    assert best and plain
    batch = sampler.sample(200, torch.Generator().manual_seed(5), best)
    precision = batch.sets.precision
    like = (precision - budget.formats[1].precision).abs() < 1e-6
    others = len(budget.formats)
    assert 100 <= int(like.sum()) <= 100 + 2 * 100 // others + 15
    assert len(precision.unique()) == others


def test_budgets_in_parameters_are_sampled_as_ever() -> None:
    budgets = [Budget(keep_ratio=0.5).resolve(SHAPE, 0), Budget(bytes=900).resolve(SHAPE, 0)]
    samplers, _ = make_space(SpectralFamily(), budgets, 0)
    assert [type(sampler).__name__ for sampler in samplers] == ["SpectralSampler", "FormatSampler"]
    action = samplers[0].sample(1, torch.Generator().manual_seed(6)).at(0)
    assert (action.form.dtype, action.budget_bytes, action.params) == ("fp32", None, budgets[0].params)
    assert not samplers[1].covers(action) and samplers[1].describes(action)
    rule = Action.from_sizes(torch.full((USERS + ITEMS,), 2), USERS, WIDTH, RuleDraw(0.5, "uniform"))
    assert samplers[1].describes(rule) and not samplers[1].covers(rule)


def test_the_same_seed_draws_the_same() -> None:
    budget = Budget(bytes=900).resolve(SHAPE, 0)
    (sampler,), _ = make_space(SpectralFamily(), [budget], 0)
    first, second = (sampler.sample(8, torch.Generator().manual_seed(7)) for _ in range(2))
    assert [first.at(index).key for index in range(8)] == [second.at(index).key for index in range(8)]


def test_keys_tell_formats_apart_and_states_come_back() -> None:
    budget = Budget(bytes=900).resolve(SHAPE, 0)
    (sampler,), _ = make_space(SpectralFamily(), [budget], 0)
    action = sampler.sample(1, torch.Generator().manual_seed(8)).at(0)
    again = Action.from_state(action.state_dict())
    assert (again.key, again.form, again.budget_bytes) == (action.key, action.form, 900)
    assert Action.from_dict(action.as_dict()).form == action.form
