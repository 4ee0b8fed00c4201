"""A budget in bytes: candidates of every format that it can be met in, each with as many parameters as that allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from bet_lightning.methods.bet.action import Action, Sets
from bet_lightning.methods.bet.search import Candidates, Sampler
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.spending import spend
from bet_lightning.table_format import TableFormat

_NEAR = 0.5  # share of the candidates that are held as the best actions so far are


class CappedSampler(Sampler, Protocol):
    """A sampler of one family for a number of parameters."""

    def with_cap(self, cap: int) -> CappedSampler:
        """Return the same sampler for another number."""

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> CappedCandidates:
        """Draw actions: see :meth:`Sampler.sample`."""


class CappedCandidates(Candidates, Protocol):
    """Candidates that can be made for another number of parameters than they were drawn for."""

    def with_cap(self, cap: int) -> Candidates:
        """Return the same draws for another number."""


def samplers_within(turns: Sequence[CappedSampler], budgets: Sequence[ResolvedBudget]) -> list[Sampler]:
    """Return a sampler for every turn and budget.

    Args:
        turns: Samplers of the families that take turns.
        budgets: The budgets; each is sampled in every turn.
    """
    return [
        turn.with_cap(budget.params) if budget.unit == "params" else FormatSampler(turn, budget)
        for turn in turns
        for budget in budgets
    ]


class FormatSampler:
    """Draws actions for a budget in bytes: a format, and sizes for as many parameters as it leaves.

    Args:
        sampler: Draws sizes.
        budget: The budget.
    """

    def __init__(self, sampler: CappedSampler, budget: ResolvedBudget) -> None:
        self.budget = budget
        self.samplers = [sampler.with_cap(budget.typical_cap(form)) for form in budget.formats]

    @property
    def cap(self) -> int:
        """The budget in bytes."""
        return self.budget.bytes

    def covers(self, action: Action) -> bool:
        """Whether an action is of this family and within its bounds."""
        return action.budget_bytes is not None and self.samplers[0].covers(action)

    def describes(self, action: Action) -> bool:
        """Whether ``sets_of`` takes an action."""
        return self.samplers[0].describes(action)

    def sets_of(self, actions: Sequence[Action]) -> Sets:
        """Return what a predictor sees of actions, whatever their budget."""
        return self.samplers[0].sets_of(actions)

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> FormatBatch:
        """Draw actions: half of them in the formats of the best ones, the others in any.

        Args:
            num_actions: How many.
            generator: The only source of randomness.
            best: The best actions measured so far, of this budget and of others.
        """
        chosen = torch.randint(len(self.samplers), (num_actions,), generator=generator)
        known = [index for action in best for index, form in enumerate(self.budget.formats) if form == action.form]
        if known:
            near = int(_NEAR * num_actions)
            chosen[:near] = torch.tensor(known)[torch.arange(near) % len(known)]
        counts = torch.bincount(chosen, minlength=len(self.samplers)).tolist()
        batches = [
            sampler.sample(count, generator, best) if count else None
            for sampler, count in zip(self.samplers, counts, strict=True)
        ]
        drawn = [(form, batch) for form, batch in zip(self.budget.formats, batches, strict=True) if batch is not None]
        return FormatBatch(self.budget, drawn, [count for count in counts if count])


class FormatBatch:
    """Candidates of several formats.

    Args:
        budget: The budget.
        drawn: Formats and their candidates.
        counts: How many there are of each.
    """

    def __init__(
        self, budget: ResolvedBudget, drawn: Sequence[tuple[TableFormat, CappedCandidates]], counts: Sequence[int]
    ) -> None:
        self.budget = budget
        self.drawn = drawn
        self.places = [(member, index) for member, count in enumerate(counts) for index in range(count)]

    @property
    def sets(self) -> Sets:
        """What the predictor sees of them."""
        seen = [
            batch.sets._replace(precision=torch.full_like(batch.sets.precision, form.precision))
            for form, batch in self.drawn
        ]
        return Sets(*(torch.cat(each) for each in zip(*seen, strict=True)))

    def at(self, index: int) -> Action:
        """Return one of the actions, which leaves less than a value's cost of the budget unspent."""
        member, place = self.places[index]
        form, batch = self.drawn[member]
        action = batch.at(place)
        orders = torch.arange(self.budget.shape.num_users), torch.arange(self.budget.shape.num_items)

        def sizes_for(cap: int) -> Tensor:
            """Sizes by row, or by popularity where that is all they follow."""
            made = action if cap == action.params else batch.with_cap(cap).at(place)
            return made.sizes(*orders)

        sizes = spend(sizes_for, self.budget, form)
        made = Action.from_sizes(sizes, self.budget.shape.num_users, self.budget.shape.width, action.draw)
        by_popularity = action.row_sizes is None
        return replace(
            made, form=form, budget_bytes=self.budget.bytes, row_sizes=None if by_popularity else made.row_sizes
        )
