"""The bounded sampler H of BET (Sec. 3.2): candidate actions that spend the budget to the last parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bet_lightning.allocation import allocate, check_cap, split_cap
from bet_lightning.methods.bet.action import Action, Draw, Sets, stack_counts
from bet_lightning.methods.bet.families.distributions import DISTRIBUTIONS, MIN_RELATIVE_SHAPE
from bet_lightning.methods.bet.families.quantiles import quantile_counts

Realization = Literal["quantile", "draws"]

_CHUNK = 4096  # actions realised at once, in some 8 MB a temporary at max_size 128


@dataclass(frozen=True)
class PopularityDraw(Draw):
    """The distributions that an action's sizes follow.

    Attributes:
        user_distribution: Name of the one that user sizes follow.
        user_shape: Its shape parameter.
        item_distribution: Name of the one that item sizes follow.
        item_shape: Its shape parameter.
    """

    kind: ClassVar[str] = "popularity"
    user_distribution: str
    user_shape: float
    item_distribution: str
    item_shape: float


class BoundedSampler:
    """Draws actions whose sizes sum to the cap exactly.

    For users and items independently a distribution and its shape are drawn, and the budget is split by a user share
    w ~ U(0, 1), restricted to shares that both sides can spend. How sizes follow from a distribution is the
    realisation: ``draws`` takes one random value a row and sorts, as the paper does, in O(num_rows) an action;
    ``quantile`` takes the distribution's quantiles instead, which is what sorted draws converge to, in O(max_size).

    Args:
        num_users: Number of users.
        num_items: Number of items.
        cap: The budget B in parameters.
        max_size: Largest size of a row.
        min_size: Smallest size of a row.
        realization: ``quantile`` or ``draws``.

    Raises:
        ValueError: If the cap cannot be met by sizes within the bounds.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        cap: int,
        max_size: int,
        min_size: int = 1,
        realization: Realization = "quantile",
    ) -> None:
        check_cap(cap, num_users + num_items, min_size=min_size, max_size=max_size)
        self.num_users, self.num_items = num_users, num_items
        self.cap, self.max_size, self.min_size = cap, max_size, min_size
        self.realization = realization
        bounds = {"min_size": min_size, "max_size": max_size}
        self.user_bounds = tuple(split_cap(cap, share, num_users, num_items, **bounds) for share in (0.0, 1.0))

    def describes(self, action: Action) -> bool:
        """Whether ``sets_of`` takes an action: any, read as if its sizes followed popularity."""
        return True

    def covers(self, action: Action) -> bool:
        """Whether an action is of this family and within its bounds."""
        of_family = isinstance(action.draw, PopularityDraw)
        return of_family and action.num_filled >= self.min_size * (self.num_users + self.num_items)

    def with_cap(self, cap: int) -> BoundedSampler:
        """Return the same sampler for another budget."""
        return BoundedSampler(
            self.num_users, self.num_items, cap, self.max_size, self.min_size, realization=self.realization
        )

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> ActionBatch:
        """Draw actions, independent of each other and of what was measured before.

        Args:
            num_actions: How many.
            generator: The only source of randomness.
            best: The best actions measured so far; not used.
        """
        kinds = torch.randint(len(DISTRIBUTIONS), (num_actions, 2), generator=generator)
        uniform = torch.rand(num_actions, 2, generator=generator, dtype=torch.float64)
        max_shapes = torch.tensor([d.max_shape for d in DISTRIBUTIONS], dtype=torch.float64)
        shapes = max_shapes[kinds] * uniform.clamp(min=MIN_RELATIVE_SHAPE)
        low, high = self.user_bounds
        share = torch.rand(num_actions, generator=generator, dtype=torch.float64)
        user_caps = (low + share * (high - low)).round().long()
        caps = torch.stack([user_caps, self.cap - user_caps], dim=1)
        if self.realization == "draws":
            user_counts, item_counts = self._from_draws(kinds, shapes, caps, generator)
        else:
            user_counts, item_counts = self._from_quantiles(kinds, shapes, caps)
        return ActionBatch(user_counts, item_counts, kinds, shapes, user_caps.double() / self.cap)

    def sets_of(self, actions: Sequence[Action]) -> Sets:
        """Return what a predictor sees of actions: (b, max_size) int64 users and items of size 1 to max_size."""
        return stack_counts(actions)

    def _from_draws(
        self, kinds: Tensor, shapes: Tensor, caps: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        counts = torch.zeros(2, len(kinds), self.max_size, dtype=torch.int64)
        for action in range(len(kinds)):
            for side, num_rows in enumerate((self.num_users, self.num_items)):
                uniform = torch.rand(num_rows, generator=generator, dtype=torch.float64).clamp(min=1e-12)
                draws = DISTRIBUTIONS[int(kinds[action, side])].quantile(uniform, shapes[action, side])
                sizes = allocate(draws.numpy(), int(caps[action, side]), min_size=self.min_size, max_size=self.max_size)
                histogram = np.bincount(sizes, minlength=self.max_size + 1)[1:]
                counts[side, action] = torch.from_numpy(histogram)
        return counts[0], counts[1]

    def _from_quantiles(self, kinds: Tensor, shapes: Tensor, caps: Tensor) -> tuple[Tensor, Tensor]:
        sides = torch.tensor([self.num_users, self.num_items]).expand(len(kinds), 2)
        flat = [t.reshape(-1).split(2 * _CHUNK) for t in (kinds, shapes, sides, caps)]
        counts = [
            quantile_counts(*parts, min_size=self.min_size, max_size=self.max_size) for parts in zip(*flat, strict=True)
        ]
        both = torch.cat(counts).view(len(kinds), 2, self.max_size)
        return both[:, 0], both[:, 1]


class ActionBatch(NamedTuple):
    """Candidate actions, one a row of every tensor.

    Attributes:
        user_counts: (num_actions, max_size) int64.
        item_counts: (num_actions, max_size) int64.
        distributions: (num_actions, 2) int64, index of the user and item distribution in ``DISTRIBUTIONS``.
        shapes: (num_actions, 2) float64.
        user_share: (num_actions,) float64.
    """

    user_counts: Tensor
    item_counts: Tensor
    distributions: Tensor
    shapes: Tensor
    user_share: Tensor

    @property
    def sets(self) -> Sets:
        """What a fitness predictor sees of the actions: the users' and the items' counts."""
        return Sets(self.user_counts, self.item_counts, torch.ones(len(self.user_counts)))

    def with_cap(self, cap: int) -> ActionBatch:
        """Return the same: every row has values, so that the number of parameters does not change."""
        return self

    def at(self, index: int) -> Action:
        """Return one of the actions."""
        user, item = (DISTRIBUTIONS[number].name for number in self.distributions[index].tolist())
        user_shape, item_shape = self.shapes[index].tolist()
        draw = PopularityDraw(float(self.user_share[index]), user, user_shape, item, item_shape)
        return Action(self.user_counts[index], self.item_counts[index], draw)
