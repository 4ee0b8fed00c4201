"""Sizes that rows prefer, brought within a budget by what they prefer next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from bet_lightning.allocation import between
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task
from bet_lightning.spending import spend_plainly
from bet_lightning.tables.candidate_sizes import CandidateSizesTable
from bet_lightning.tables.size_controller import popularity_steps

if TYPE_CHECKING:
    from bet_lightning.recommender import AuxiliaryLoss


class PreferredSizes(Method):
    """Learns once how much every row prefers each of some sizes, then trains sizes within each budget from scratch.

    Rows without training data, of which nothing is learned, keep the smallest size as long as others can take more.

    Args:
        name: Name of the results.
        candidates: Sizes of a table's rows, in ascending order; those above its width become that.
        rate: Learning rate of what decides on sizes, relative to the values'.
        learn: How long preferences are learned; the last epoch counts, whether or not it validates best.
        train: How long sizes may be trained.

    Attributes:
        table_class: The table that preferences are learned in.

    Raises:
        ValueError: If the candidates are no sizes in ascending order, or the rate is not positive.
    """

    table_class: ClassVar[type[CandidateSizesTable]]

    def __init__(self, name: str, candidates: Sequence[int], rate: float, learn: Epochs, train: Epochs) -> None:
        if not candidates or candidates[0] < 1 or list(candidates) != sorted(set(candidates)):
            raise ValueError(f"search.method.candidates must be sizes in ascending order, got {list(candidates)}")
        if rate <= 0:
            raise ValueError(f"search.method.{self.table_class.rate_name} must be positive, got {rate}")
        self.name = name
        self.candidates = tuple(candidates)
        self.rate = rate
        self.learn = learn
        self.train = train

    @abstractmethod
    def auxiliary_loss(self, problem: Problem) -> AuxiliaryLoss:
        """Return what decisions on sizes learn by, without a gradient for values."""

    def run(self, problem: Problem) -> Rounds:
        """Learn preferences, then train sizes for each budget: see :meth:`Method.run`."""
        state, network = problem.state, problem.network
        candidates = [size for size in self.candidates if size < network.max_size] + [network.max_size]
        if "preferences" not in state:
            # every rank learns for itself from all data: what rows remember of their batches could not be averaged
            yield Round([self._learning(problem, candidates)])
            tables = (table for table in network.tables if isinstance(table, CandidateSizesTable))
            preferences = torch.stack([table.preferences() for table in tables]).mean(0)
            state["preferences"] = problem.agree(preferences.cpu())
        sizes = torch.tensor(candidates) * len(network.tables)  # of rows over all tables
        frequency = torch.cat(problem.frequencies)
        order = frequency.argsort(descending=True, stable=True)
        preferences = untrained_last(state["preferences"], sizes, frequency)
        for name, budget in problem.missing_results(self.name, by_budget=True):
            sizes_for = partial(preferred_sizes, preferences, sizes, order, min_size=budget.min_size)
            allocation = spend_plainly(sizes_for, budget)
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, allocation)], shared=True)

    def _learning(self, problem: Problem, candidates: Sequence[int]) -> Task:
        """The training that preferences are learned in."""
        network = problem.network
        shape = network.num_users, network.num_items, network.max_size
        popularity = torch.cat([popularity_steps(side) for side in problem.frequencies])
        return Task(
            "tune",
            "learn sizes",
            self.learn,
            tables=[self.table_class(*shape, candidates, self.rate, popularity) for _ in network.tables],
            keep="last",
            keep_weights=True,
            auxiliary_loss=self.auxiliary_loss(problem),
        )


def untrained_last(preference: Tensor, candidates: Tensor, frequency: Tensor) -> Tensor:
    """Return preferences with which rows without training data grow after all others.

    Args:
        preference: ``(num_rows, k)`` floats.
        candidates: ``(k,)`` int64.
        frequency: ``(num_rows,)``, training interactions.

    Returns:
        ``(num_rows, k)`` floats.
    """
    steepest = preference.max() - preference.min() + 1  # more than any other row loses a parameter
    return torch.where((frequency > 0).unsqueeze(1), preference, -steepest * candidates)


def preferred_sizes(preference: Tensor, candidates: Tensor, order: Tensor, cap: int, min_size: int) -> Tensor:
    r"""Return sizes that sum to a cap, as close to what rows prefer as a common price of a parameter allows.

    Every row n takes the candidate with the largest :math:`p_{nk} - \lambda c_k`. At :math:`\lambda = 0` that is what
    it prefers; at another price, negative where the cap is above what they prefer, the sizes sum to the cap. So those
    rows give way that lose the least preference a parameter. A row grows at the slopes of the least concave function
    above its preference, the steepest ones of all rows first; rows that turn at the same price do so in an order, and
    one of them has what is left.

    Args:
        preference: ``(num_rows, k)`` floats, p.
        candidates: ``(k,)`` int64, sizes c in ascending order.
        order: ``(num_rows,)`` int64: rows by who is to have the larger size, the first ones before others.
        cap: The sum, at most the largest candidate a row.
        min_size: Smallest size of a row, where the smallest candidate is too much for all.

    Returns:
        ``(num_rows,)`` int64.
    """
    smallest = torch.full((len(preference),), int(candidates[0]))
    spare = cap - int(smallest.sum())
    if spare <= 0:
        return between(torch.full_like(smallest, min_size), smallest, order, cap)
    more = candidates.diff().repeat(len(order))
    slopes = _concave_slopes(preference[order].double(), candidates).flatten()
    steepest_first = slopes.argsort(descending=True, stable=True)
    grown = between(torch.zeros_like(more), more, steepest_first, spare).view(len(order), -1).sum(1)
    return smallest.index_add(0, order, grown)


def _concave_slopes(values: Tensor, at: Tensor) -> Tensor:
    """Return the slopes of the least concave function above each row's values, never rising along a row.

    Args:
        values: ``(num_rows, k)`` floats.
        at: ``(k,)`` int64, where they are taken, in ascending order.

    Returns:
        ``(num_rows, k - 1)`` floats, one for each gap.
    """
    slopes = values.new_full((len(values), len(at) - 1), torch.inf)
    for start in range(len(at) - 1):
        beyond = (values[:, start + 1 :] - values[:, start, None]) / (at[start + 1 :] - at[start])
        steepest_from_here = beyond.flip(1).cummax(1).values.flip(1)  # to any end at or after a gap's
        slopes[:, start:] = slopes[:, start:].minimum(steepest_from_here)
    return slopes
