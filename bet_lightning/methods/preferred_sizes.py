"""Sizes that rows prefer, brought within a budget by what they prefer next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from bet_lightning.allocation import between
from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Outcome, Round, Task
from bet_lightning.spending import spend_plainly
from bet_lightning.tables.size_controller import popularity_steps


class PreferredSizes(Method):
    """Learns once how much every row prefers each of some sizes, then trains sizes within each budget from scratch.

    Rows without training data, of which nothing is learned, keep the smallest size as long as others can take more.

    Args:
        name: Name of the results.
        candidates: Sizes of a table's rows, in ascending order; those above its width become that.
        learn: How long preferences are learned.
        train: How long sizes may be trained.

    Raises:
        ValueError: If the candidates are no sizes in ascending order.
    """

    def __init__(self, name: str, candidates: Sequence[int], learn: Epochs, train: Epochs) -> None:
        if not candidates or candidates[0] < 1 or list(candidates) != sorted(set(candidates)):
            raise ValueError(f"search.method.candidates must be sizes in ascending order, got {list(candidates)}")
        self.name = name
        self.candidates = tuple(candidates)
        self.learn = learn
        self.train = train

    @abstractmethod
    def learning(self, problem: Problem, candidates: Sequence[int], popularity: Tensor) -> Task:
        """Return the training that preferences are learned in.

        Args:
            problem: What sizes are learned for.
            candidates: Sizes of a table's rows, the last being its width.
            popularity: ``(num_rows,)`` int64, see ``popularity_steps``.
        """

    @abstractmethod
    def preferences(self, network: Backbone) -> list[Tensor]:
        """Return what was learned, ``(num_rows, k)`` floats a table: how much rows prefer each candidate."""

    def run(self, problem: Problem) -> Generator[Round, Sequence[Outcome], None]:
        """Learn preferences, then train sizes for each budget: see :meth:`Method.run`."""
        state, done, network = problem.state, problem.state.setdefault("done", []), problem.network
        candidates = [size for size in self.candidates if size < network.max_size] + [network.max_size]
        if "preferences" not in state:
            popularity = torch.cat([popularity_steps(side) for side in problem.frequencies])
            # every rank learns for itself from all data: what rows remember of their batches could not be averaged
            yield Round([self.learning(problem, candidates, popularity)])
            state["preferences"] = problem.agree(torch.stack(self.preferences(network)).mean(0).cpu())
        sizes = torch.tensor(candidates) * len(network.tables)  # of rows over all tables
        frequency = torch.cat(problem.frequencies)
        order = frequency.argsort(descending=True, stable=True)
        preferences = untrained_last(state["preferences"], sizes, frequency)
        for budget in problem.budgets:
            if budget.name in done:
                continue
            name = f"{self.name}{problem.suffix(budget)}"
            sizes_for = partial(preferred_sizes, preferences, sizes, order, min_size=budget.min_size)
            allocation = spend_plainly(sizes_for, budget)
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, allocation)], shared=True)
            done.append(budget.name)


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
