"""OptEmbed: rows and sizes from one supernet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bet_lightning.allocation import Allocation, between, top_up
from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.compression import full_tables, with_tables
from bet_lightning.methods.evolution import EvolutionSettings, Pair, PairSpace
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task, Weights
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.spending import spend_plainly
from bet_lightning.tables import MaskedEmbedding
from bet_lightning.tables.supernet import SupernetTable

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch
    from bet_lightning.recommender import Recommender


class OptEmbed(Method):
    r"""Rows of large norm and a size a side, from one supernet (Lyu et al. 2022, CIKM, arXiv 2208.04482).

    A supernet is trained in random prefixes and with a threshold a side, on the L1 norms of rows, below which they are
    dropped; :math:`\alpha \sum_s e^{-t_s}` lets thresholds grow. With the supernet frozen, an evolution looks for the
    size of users and that of items which validate best. They are trained from scratch.

    Deviations: the paper has no budget. Here a pair of sizes is a candidate if it can spend the budget; of its rows
    those are kept whose norms are furthest above their thresholds, until the budget is spent exactly, the last row
    having what is left. Rows that are dropped have no parameter where the backbone rebuilds them from neighbours, and
    one where it does not. A prefix is drawn a batch and side, not a sample and side, because graph backbones read the
    whole table at once. The fitness is mean recall and ndcg, not AUC. Where there are no more candidates than the
    evolution would evaluate, all are. A pair is evaluated once, and of all that were evaluated the best is taken. The
    authors' mutation changes the parent and their crossover point is drawn from the columns, so that it almost always
    copies; here neither is so. Their supernet stops at the first validation without a gain. Where a backbone has
    several tables, each has thresholds of its own and draws for itself, and norms and thresholds are added up.

    Args:
        supernet: How long the supernet may be trained (paper: 30 epochs).
        alpha: Weight of what lets thresholds grow (authors: 3e-4; paper: 1e-6 to 1e-4).
        threshold_rate: Learning rate of thresholds, relative to the table's (authors: 3e-4 against 1e-4).
        evolution: How sizes are found.
        train: How long they may be trained.

    Raises:
        ValueError: If ``alpha`` is negative or ``threshold_rate`` not positive.
    """

    def __init__(
        self,
        supernet: Epochs = Epochs(max_epochs=30),
        alpha: float = 3e-4,
        threshold_rate: float = 3.0,
        evolution: EvolutionSettings = EvolutionSettings(),
        train: Epochs = Epochs(),
    ) -> None:
        if alpha < 0:
            raise ValueError(f"search.method.alpha must not be negative, got {alpha}")
        if threshold_rate <= 0:
            raise ValueError(f"search.method.threshold_rate must be positive, got {threshold_rate}")
        self.supernet = supernet
        self.alpha = alpha
        self.threshold_rate = threshold_rate
        self.evolution = evolution
        self.train = train

    def min_size(self, network: Backbone, rebuilds_rows: bool) -> int:
        """Return 0 where rows are rebuilt from their neighbours: see :meth:`Method.min_size`."""
        return 0 if rebuilds_rows else 1

    def run(self, problem: Problem) -> Rounds:
        """Train the supernet, then find sizes for each budget and train them: see :meth:`Method.run`."""
        state = problem.state
        if "supernet" not in state:
            (outcome,) = yield Round([self._supernet_task(problem.network)], shared=True)
            margins = [table.margin().cpu() for table in supernets(problem.network)]
            state["margins"] = problem.agree(torch.stack(margins).sum(0))
            state["supernet"] = problem.agree(as_masked(outcome.weights))
        for name, budget in problem.missing_results("optembed", by_budget=True):
            search = PairSearch(problem, budget, self.evolution)
            yield from search.run()
            allocation = search.allocation(search.best)
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, allocation)], shared=True)

    def _supernet_task(self, network: Backbone) -> Task:
        sides = network.num_users, network.num_items
        tables = [SupernetTable(*sides, network.max_size, self.threshold_rate) for _ in network.tables]

        def pressure(recommender: Recommender, batch: BPRBatch) -> Tensor:
            thresholds = torch.stack([table.thresholds for table in supernets(recommender.network)])
            return self.alpha * torch.exp(-thresholds).sum()

        return Task(
            "tune", "train the supernet", self.supernet, tables=tables, keep_weights=True, auxiliary_loss=pressure
        )


class PairSearch:
    """The search for a pair of sizes within one budget; what it has evaluated is kept in the problem's state.

    Args:
        problem: Has the frozen supernet in its state.
        budget: The budget.
        settings: How pairs are found.
    """

    def __init__(self, problem: Problem, budget: ResolvedBudget, settings: EvolutionSettings) -> None:
        self.problem = problem
        self.budget = budget
        self.settings = settings
        shape = budget.shape
        self.space = PairSpace(shape.num_users, shape.num_items, shape.width, budget.typical_cap(budget.plain))
        self.order = problem.state["margins"].argsort(descending=True, stable=True)
        # users' size, items' size and quality of every evaluated pair, as plain values
        self.evaluated: list[list[float]] = problem.state.setdefault("evaluated", {}).setdefault(budget.name, [])

    def run(self) -> Rounds:
        """Evaluate all pairs, or generations of them."""
        for generation in self._generations():
            missing = [pair for pair in dict.fromkeys(generation) if pair not in self.quality]
            for start in range(0, len(missing), self.problem.num_ranks):
                pairs = missing[start : start + self.problem.num_ranks]
                outcomes = yield Round([self._task(pair) for pair in pairs])
                found = zip(pairs, outcomes, strict=True)
                self.evaluated += [[*pair, outcome.quality] for pair, outcome in found]

    @property
    def quality(self) -> dict[Pair, float]:
        """Mean recall and ndcg of every evaluated pair."""
        return {(int(users), int(items)): quality for users, items, quality in self.evaluated}

    @property
    def best(self) -> Pair:
        """The best evaluated pair."""
        return max(self.quality.items(), key=lambda found: found[1])[0]

    def allocation(self, pair: Pair) -> Allocation:
        """Return the sizes of all rows."""
        return spend_plainly(partial(sizes_of_rows, pair, self.order, self.budget), self.budget)

    def _generations(self) -> Iterator[list[Pair]]:
        """Generations, each to be evaluated before the next is asked for."""
        pairs, settings = self.space.all(), self.settings
        if len(pairs) <= settings.generations * settings.population:
            yield pairs
            return
        seed = self.problem.seed
        pairs = self.space.first_generation(settings, np.random.default_rng([seed, 0]))
        yield pairs
        for number in range(1, settings.generations):
            ranked = sorted(pairs, key=self.quality.__getitem__, reverse=True)
            pairs = self.space.next_generation(ranked, settings, np.random.default_rng([seed, number]))
            yield pairs

    def _task(self, pair: Pair) -> Task:
        return Task(
            "probe",
            f"sizes {pair[0]} and {pair[1]}",
            Epochs(max_epochs=0),
            budget=self.budget,
            allocation=self.allocation(pair),
            weights=self.problem.state["supernet"],
            user_share=self.settings.user_share,
        )


def sizes_of_rows(pair: Pair, order: Tensor, budget: ResolvedBudget, cap: int) -> Tensor:
    """Return sizes that sum to a cap: those of a pair for the first rows, the smallest for the others.

    The row between them has what is left. Where the pair does not spend the cap, rows have more.

    Args:
        pair: Sizes of users and of items.
        order: ``(num_rows,)`` int64, rows in the order in which they are kept.
        budget: Has the bounds of sizes.
        cap: The sum.

    Returns:
        ``(num_rows,)`` int64.
    """
    shape = budget.shape
    wanted = torch.tensor(pair).repeat_interleave(torch.tensor([shape.num_users, shape.num_items]))
    sizes = between(torch.full_like(wanted, budget.min_size), wanted, order, cap)
    return top_up(sizes, cap - int(sizes.sum()), 1, max_size=shape.width)


def supernets(network: Backbone) -> list[SupernetTable]:
    """Return a backbone's tables while it is a supernet."""
    return [table for table in network.tables if isinstance(table, SupernetTable)]


def as_masked(weights: Weights) -> Weights:
    """Return the state of a backbone with masked tables of the same values, all columns kept."""
    tables = []
    for values in full_tables(weights):
        table = MaskedEmbedding(*values.shape)
        table.weight.data.copy_(values)
        tables.append(table)
    return with_tables(weights, tables).weights
