"""How a search begins on a pre-trained table: what parameters are worth, and how cut tables compensate for a cut."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from bet_lightning.backbones import Refit, RefitsCuts
from bet_lightning.methods.base import Problem
from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.families import Family, Rows
from bet_lightning.methods.bet.search import BudgetedSearch
from bet_lightning.methods.bet.settings import SearchSettings
from bet_lightning.methods.rules import SizeRule
from bet_lightning.methods.tasks import generator_of
from bet_lightning.ranking import quality
from bet_lightning.resolved_budget import ResolvedBudget

_DRAWS = 4  # actions that the first power is judged by: eight choose no other
_REJUDGED = 2  # of them, the best, that the other powers are judged by
_logger = logging.getLogger(__name__)


class SearchPlan(NamedTuple):
    """What a search is made from, besides a trained table.

    Attributes:
        family: Which actions there are.
        settings: How they are found.
        min_size: Smallest size of a row.
        trains_fresh: Whether actions will also be trained from fresh weights.
        refit_steps: Steps by which cut tables compensate for what is cut.
        user_share: Share of the validation users that probes are validated on.
    """

    family: Family
    settings: SearchSettings
    min_size: int
    trains_fresh: bool
    refit_steps: int
    user_share: float


class Begun(NamedTuple):
    """A search that has begun.

    Attributes:
        search: The search.
        gains: What parameters are worth to its family, if it asked.
        power: Power of popularity by which errors count when cuts are compensated for.
        quality: Mean recall and ndcg of the best of a few cut tables; 0 where none was tried.
    """

    search: BudgetedSearch
    gains: Tensor | None
    power: float = 0.0
    quality: float = 0.0


def rows_of(problem: Problem) -> Rows:
    """Return what a search knows of a problem's rows without a trained table."""
    return Rows(*problem.frequencies, problem.network.row_width)


def action_of_rule(rule: SizeRule, problem: Problem, budget: ResolvedBudget) -> Action:
    """Return a simple rule's sizes as an action that a search can be given."""
    allocation = rule.allocate(problem, budget)
    sizes, shape = allocation.sizes, budget.shape
    draw = RuleDraw(int(sizes[: shape.num_users].sum()) / allocation.params, rule.name)
    action = Action.from_sizes(sizes, shape.num_users, shape.width, draw)
    in_bytes = budget.bytes if budget.unit == "bytes" else None
    return replace(action, form=allocation.form, budget_bytes=in_bytes)


def make_search(problem: Problem, plan: SearchPlan, gains: Tensor | None) -> BudgetedSearch:
    """Build samplers, predictor and search.

    Args:
        problem: Has rows and budgets.
        plan: What the search is made from.
        gains: What the family found parameters to be worth.
    """
    budgets = problem.budgets
    samplers, predictor = plan.family.search_space(rows_of(problem), gains, budgets, plan.min_size, plan.trains_fresh)
    settings = plan.settings
    return BudgetedSearch(
        samplers,
        predictor,
        settings.num_candidates,
        settings.num_updates,
        settings.selection,
        settings.num_random * len(budgets),
        seed=problem.seed,
    )


def begin_search(problem: Problem, plan: SearchPlan) -> Begun:
    """Begin a search, with the power of popularity whose best cut table ranks validation users best.

    Each power cuts the same few draws of the sampler, untrained; after the first power only the best of them. Gains are
    asked for about the middle one of the budgets, so that their order is without effect.

    Args:
        problem: Its network has the full pre-trained table, and has it again afterwards.
        plan: What the search is made from.
    """
    network = problem.network
    budgets = sorted(problem.budgets, key=lambda budget: budget.amount)
    middle = budgets[(len(budgets) - 1) // 2]

    def begin(power: float) -> Begun:
        refit = Refit(plan.refit_steps, power)
        gains = problem.agree(plan.family.gains(network, middle.typical_cap(middle.plain), plan.min_size, refit))
        return Begun(make_search(problem, plan, gains), gains, power)

    if not plan.refit_steps or not isinstance(network, RefitsCuts):
        return begin(0.0)
    full = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    orders = rows_of(problem).orders
    draws = list(range(_DRAWS))

    def attempt(power: float) -> Begun:
        begun = begin(power)
        sampler = next(s for s in begun.search.samplers if s.cap == middle.amount)
        candidates = sampler.sample(_DRAWS, generator_of(0))
        found = {}
        for draw in draws:
            action = candidates.at(draw)
            network.cut(action.sizes(*orders), Refit(plan.refit_steps, power), action.form.dtype)
            found[draw] = quality(problem.evaluate(plan.user_share))
            network.use_masked_tables()
            network.load_state_dict(full)
        draws[:] = sorted(found, key=found.__getitem__, reverse=True)[:_REJUDGED]
        _logger.debug("refit power %g: %.4f", power, found[draws[0]])
        return begun._replace(quality=found[draws[0]])

    return ascend(network.refit_powers, attempt)


def ascend(powers: Sequence[float], attempt: Callable[[float], Begun]) -> Begun:
    """Walk from the middle of some powers, down or else up, while it gets better: the best, where there is one peak."""
    middle = len(powers) // 2
    start = best = attempt(powers[middle])
    for direction in (powers[middle + 1 :], powers[:middle][::-1]):
        for following in map(attempt, direction):
            if following.quality <= best.quality:
                break
            best = following
        if best is not start:
            break
    return best
