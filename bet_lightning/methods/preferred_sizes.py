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

_BISECTIONS = 60


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
    it prefers; the price at which the sizes sum to the cap is found by bisection, negative where the cap is above what
    they prefer. So those rows give way that lose the least preference a parameter. Rows that turn at that very price
    do so in an order, and one of them has what is left.

    Args:
        preference: ``(num_rows, k)`` floats, p.
        candidates: ``(k,)`` int64, sizes c in ascending order.
        order: ``(num_rows,)`` int64: rows by who is to have the larger size, the first ones before others.
        cap: The sum, at most the largest candidate a row.
        min_size: Smallest size of a row, where the smallest candidate is too much for all.

    Returns:
        ``(num_rows,)`` int64.
    """
    scores = preference.double()
    costs = candidates.double()

    def at(price: float) -> Tensor:
        return candidates[(scores - price * costs).argmax(1)]  # of equal ones the smallest

    smallest = torch.full((len(scores),), int(candidates[0]))
    if int(smallest.sum()) >= cap:
        return between(torch.full_like(smallest, min_size), smallest, order, cap)
    gaps = candidates.diff().tolist()
    bound = (float(scores.max() - scores.min()) + 1.0) / min(gaps, default=1)
    low, high = -bound, bound
    lower, upper = smallest, torch.full_like(smallest, int(candidates[-1]))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        sizes = at(middle)
        if int(sizes.sum()) <= cap:
            high, lower = middle, sizes
        else:
            low, upper = middle, sizes
    return between(lower, upper, order, cap)
