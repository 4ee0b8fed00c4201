"""The paper's actions among others: sizes by popularity, described by the groups of rows that other families use."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bet_lightning.methods.bet.action import Action, Sets, stack_counts
from bet_lightning.methods.bet.families.bounded_sampler import ActionBatch, BoundedSampler
from bet_lightning.methods.bet.families.tails import SpectrumTails


class RankedGroups:
    """Where the rows of each group stand in the order of popularity.

    Args:
        order: (num_rows,) int64 rows from the most to the least popular.
        tails: Has the groups.
    """

    def __init__(self, order: Tensor, tails: SpectrumTails) -> None:
        num_rows = len(order)
        self.offsets = torch.arange(tails.num_groups) * num_rows
        # sorted by group, within it by rank: how many rows of a group come before a rank is one binary search
        self.keys = (tails.groups[order] * num_rows + torch.arange(num_rows)).sort().values
        self.starts = torch.searchsorted(self.keys, self.offsets)

    def sets(self, counts: Tensor) -> Tensor:
        """Count the rows of each group with each size: (b, max_size) int64 to (b, max_size, num_groups) float32."""
        at_least = counts.flip(1).cumsum(1).flip(1)  # the rows of size d or more come first in the order
        found = torch.searchsorted(self.keys, at_least.unsqueeze(2) + self.offsets) - self.starts
        return (found - torch.nn.functional.pad(found[:, 1:], (0, 0, 0, 1))).float()


class GroupedSampler:
    """A bounded sampler whose actions are seen by groups of rows.

    Args:
        sampler: Draws the paper's actions.
        orders: User rows (num_users,) and item rows (num_items,) from the most to the least popular.
        tails: The users' and the items' groups.
    """

    def __init__(self, sampler: BoundedSampler, orders: Sequence[Tensor], tails: Sequence[SpectrumTails]) -> None:
        self.sampler = sampler
        self.sides = [RankedGroups(*side) for side in zip(orders, tails, strict=True)]

    @property
    def cap(self) -> int:
        """The budget B in parameters."""
        return self.sampler.cap

    def describes(self, action: Action) -> bool:
        """Whether ``sets_of`` takes an action: where sizes follow popularity."""
        return action.row_sizes is None

    def covers(self, action: Action) -> bool:
        """Whether an action is of this family and within its bounds."""
        return self.sampler.covers(action)

    def with_cap(self, cap: int) -> GroupedSampler:
        """Return the same sampler for another budget."""
        other = copy.copy(self)
        other.sampler = self.sampler.with_cap(cap)
        return other

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> GroupedBatch:
        """Draw actions, independent of what was measured before."""
        return GroupedBatch(self, self.sampler.sample(num_actions, generator))

    def sets_of(self, actions: Sequence[Action]) -> Sets:
        """Return the users' and the items' sets of actions by popularity, whatever their budget."""
        return self.grouped(stack_counts(actions))

    def grouped(self, counts: Sets) -> Sets:
        """Return sets of counts (b, max_size) int64 by group: (b, max_size, num_groups) float32."""
        users, items = self.sides
        return counts._replace(users=users.sets(counts.users), items=items.sets(counts.items))


class GroupedBatch(NamedTuple):
    """Candidates of a ``GroupedSampler``."""

    sampler: GroupedSampler
    actions: ActionBatch

    @property
    def sets(self) -> Sets:
        """What the predictor sees of them."""
        return self.sampler.grouped(self.actions.sets)

    def with_cap(self, cap: int) -> GroupedBatch:
        """Return the same: every row has values, so that the number of parameters does not change."""
        return self

    def at(self, index: int) -> Action:
        """Return one of the actions."""
        return self.actions.at(index)
