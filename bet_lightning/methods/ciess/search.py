"""The search of sizes for one budget: what agents choose, repaired, and what they are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bet_lightning.allocation import Allocation, allocate
from bet_lightning.methods.base import Problem
from bet_lightning.methods.ciess.agent import SideAgent
from bet_lightning.methods.rules import SizeRule
from bet_lightning.methods.tasks import generator_of
from bet_lightning.resolved_budget import ResolvedBudget

if TYPE_CHECKING:
    from bet_lightning.methods.ciess.method import CIESS


class Repaired(SizeRule):
    """Sizes in proportion to chosen ones, clipped to their bounds, that spend a budget exactly.

    Args:
        chosen: ``(num_rows,)`` sizes, users first.
    """

    def __init__(self, chosen: Tensor) -> None:
        super().__init__("ciess")
        self.chosen = chosen

    def sizes(
        self, user_frequency: Tensor, item_frequency: Tensor, cap: int, max_size: int, min_size: int = 1
    ) -> Tensor:
        """See ``SizeRule.sizes``; of rows with equal remainders, the most popular get what rounding leaves."""
        order = torch.cat([user_frequency, item_frequency]).argsort(descending=True, stable=True).numpy()
        sizes = np.empty(len(order), dtype=np.int64)
        sizes[order] = allocate(self.chosen.numpy()[order], cap, min_size=min_size, max_size=max_size)
        return torch.from_numpy(sizes)


class SizeSearch:
    """Both agents on one budget, from iteration to iteration.

    Args:
        method: The settings.
        problem: Has popularity and seed.
        budget: What every action is repaired to.
        reference: ``(num_users,)`` quality of users with the full table, nan for those without targets.
        interactions: Training interactions, users and items.

    Attributes:
        iteration: Iterations that are over.
        chosen: ``(num_rows,)`` int64 sizes that agents chose for the next iteration; None before that.
        best: The best actions so far with their quality, the best first, no more than are retrained.
    """

    def __init__(
        self,
        method: CIESS,
        problem: Problem,
        budget: ResolvedBudget,
        reference: Tensor,
        interactions: tuple[Tensor, Tensor],
    ) -> None:
        self.method = method
        self.problem = problem
        self.budget = budget
        self.reference = reference
        self.interactions = interactions
        self.iteration = 0
        self.chosen: Tensor | None = None
        self.best: list[tuple[float, Tensor]] = []
        self._generator = generator_of(problem.seed)
        total, bounds = method.num_episodes * method.num_iterations, (budget.min_size, budget.shape.width)
        self._agents = [
            SideAgent(frequency, *bounds, method.penalty, total, method.agent, self._generator)
            for frequency in problem.frequencies
        ]
        self._sizes, self._ratios = self._first()

    def choose(self) -> Allocation:
        """Choose sizes for the next iteration, unless they were chosen before, and repair them."""
        if self.chosen is None:
            if self.iteration % self.method.num_iterations == 0:
                self._sizes, self._ratios = self._first()
            sides = zip(self._agents, self._split(self._sizes), self._split(self._ratios), strict=True)
            chosen = torch.cat([agent.choose(sizes, ratios) for agent, sizes, ratios in sides])
            self.chosen = self.problem.agree(chosen)  # last digits may differ between ranks
        return Repaired(self.chosen).allocate(self.problem, self.budget)

    def observe(self, sizes: Tensor, quality: Tensor) -> None:
        """Learn what the chosen sizes led to.

        Args:
            sizes: ``(num_rows,)`` int64 what they were repaired to.
            quality: ``(num_users,)`` quality of users, nan for those without targets.
        """
        if self.chosen is None:
            raise RuntimeError("nothing was chosen yet")
        num_items = self.budget.shape.num_items
        ratios = torch.cat(quality_ratios(quality, self.reference, self.interactions, num_items))
        parts = (self._split(values) for values in (self._sizes, self._ratios, self.chosen, sizes, ratios))
        for agent, *known in zip(self._agents, *parts, strict=True):
            agent.learn(*known)
        self._sizes, self._ratios = sizes, ratios
        self._keep_if_good(float(quality.nanmean()), sizes)
        self.iteration += 1
        self.chosen = None

    def _first(self) -> tuple[Tensor, Tensor]:
        """Return sizes and quality ratios that an episode begins with: the full table's."""
        shape = self.budget.shape
        return torch.full((shape.num_rows,), shape.width), torch.ones(shape.num_rows)

    def _keep_if_good(self, quality: float, sizes: Tensor) -> None:
        if any(known.equal(sizes) for _, known in self.best):
            return
        self.best.append((quality, sizes))
        self.best.sort(key=lambda pair: pair[0], reverse=True)
        del self.best[self.method.num_actions :]

    def _split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is the users' and what is the items'."""
        return rows[: self.budget.shape.num_users], rows[self.budget.shape.num_users :]

    def state_dict(self) -> dict[str, Any]:
        """Return all that goes on from iteration to iteration, as tensors and plain values."""
        return {
            "iteration": self.iteration,
            "sizes": self._sizes,
            "ratios": self._ratios,
            "chosen": self.chosen,
            "best": [list(pair) for pair in self.best],
            "agents": [agent.state_dict() for agent in self._agents],
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.iteration = state["iteration"]
        self._sizes, self._ratios = state["sizes"], state["ratios"]
        self.chosen = state["chosen"]
        self.best = [(quality, sizes) for quality, sizes in state["best"]]
        for agent, saved in zip(self._agents, state["agents"], strict=True):
            agent.load_state_dict(saved)
        self._generator.set_state(state["generator"])


def quality_ratios(
    quality: Tensor, reference: Tensor, interactions: tuple[Tensor, Tensor], num_items: int
) -> tuple[Tensor, Tensor]:
    """Return the quality of users and of items relative to the full table's, at most 1.

    A user for whom the full table finds nothing has 1, as it cannot get worse. An item has the mean of its training
    users. Rows that nothing is known of have their side's mean.

    Args:
        quality: ``(num_users,)`` quality of users, nan for those without targets.
        reference: The same with the full table.
        interactions: Training interactions, users and items, ``(n,)`` int64 each.
        num_items: Number of items.

    Returns:
        ``(num_users,)`` and ``(num_items,)`` float32 in [0, 1].
    """
    ratios = torch.where(reference > 0, quality / reference, torch.ones_like(quality)).clamp(max=1)
    ratios = ratios.masked_fill(quality.isnan(), torch.nan)
    users, items = interactions
    known = ~ratios[users].isnan()
    users, items = users[known], items[known]
    sums = torch.zeros(num_items, dtype=ratios.dtype).index_add_(0, items, ratios[users])
    means = sums / torch.bincount(items, minlength=num_items)  # nan where there are none
    user_ratios, item_ratios = (side.where(~side.isnan(), side.nanmean()).float() for side in (ratios, means))
    return user_ratios, item_ratios
