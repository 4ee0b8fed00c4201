"""What a method is: it asks for trainings, and is told what came of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone, HasKeptForm, KeptForm, TurnsBasis
from bet_lightning.methods.tasks import FULL, Epochs, Outcome, Phase, Rounds, Task
from bet_lightning.recommender import Recommender
from bet_lightning.resolved_budget import ResolvedBudget

if TYPE_CHECKING:
    from bet_lightning.data import RankingBatch

T = TypeVar("T")
BudgetsByForm = Mapping[KeptForm, Sequence[ResolvedBudget]]


class Agree(Protocol):
    """Returns the first rank's value on every rank."""

    def __call__(self, value: T) -> T:
        """Return it."""


class Journal:
    """Takes down what a search measures, for people; a run writes it to its folder.

    Attributes:
        records: A record a probed action, in their order.
        seconds_to_begin: Seconds that it took to begin the search.
    """

    def __init__(self) -> None:
        self.records: Sequence[Any] = []
        self.seconds_to_begin = 0.0

    def take(self, records: Sequence[Any], phase: Phase) -> None:
        """Take down all records so far, after one was added (``probe``) or measured again (``tune``)."""
        self.records = records

    @property
    def best_fitness(self) -> float | None:
        """The best fitness so far; None before the first probe."""
        return max((record.fitness for record in self.records), default=None)


class Problem:
    """What a method is run on: a backbone and its data, budgets, and what it may ask of whoever runs it.

    Args:
        recommender: Has the backbone, which holds the weights of the last task between rounds.
        users: Returns a share of the validation users to rank, all of them or the first in an order of chance.
        budgets: Budgets, the largest first; or budgets by what they may be spent on.
        seed: Seed of everything that a method draws.
        num_ranks: Ranks that train tasks of a round at the same time.
        agree: Returns the first rank's value on every rank: on a GPU last digits may differ between ranks.
        alone: Returns a context in which ``users`` returns those of all ranks, rather than a share of them each.
        journal: Takes down what is measured.
        state: What the method kept in a checkpoint, tensors and plain values; empty at first. A method adds to it what
            it needs in order to go on from its next round.

    Attributes:
        kept: What ``budgets`` are spent on.
        budgets: Budgets, the largest first.
    """

    def __init__(
        self,
        recommender: Recommender,
        users: Callable[[float], Iterable[RankingBatch]],
        budgets: Sequence[ResolvedBudget] | BudgetsByForm,
        *,
        seed: int = 0,
        num_ranks: int = 1,
        agree: Agree = lambda value: value,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
        journal: Journal | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.recommender = recommender
        self._by_form: BudgetsByForm = budgets if isinstance(budgets, Mapping) else {"table": budgets}
        self.kept, first = next(iter(self._by_form.items()))
        self.budgets = tuple(first)
        self.seed = seed
        self.num_ranks = num_ranks
        self.agree = agree
        self.alone = alone
        self.journal = journal or Journal()
        self.state: dict[str, Any] = {} if state is None else state
        self._users = users

    @property
    def network(self) -> Backbone:
        """The backbone."""
        return self.recommender.network

    @property
    def frequencies(self) -> tuple[Tensor, Tensor]:
        """Training interactions of users ``(num_users,)`` and of items ``(num_items,)``, on the CPU."""
        frequency = self.network.frequency.cpu()
        return frequency[: self.network.num_users], frequency[self.network.num_users :]

    def evaluate(self, user_share: float = 1.0) -> dict[str, float]:
        """Return validation metrics of the backbone as it is on a share of the users, the same on every rank."""
        with self.alone():
            return self.agree(self.recommender.evaluate(self._users(user_share)))

    def evaluate_users(self) -> Tensor:
        """Return every user's quality on validation, the same on every rank.

        Returns:
            ``(num_users,)`` float64: the mean of the user's recall and ndcg; nan for users without targets.
        """
        with self.alone():
            return self.agree(self.recommender.evaluate_users(self._users(1.0)))

    def interactions(self) -> tuple[Tensor, Tensor]:
        """Return the training interactions of the validation users: users and items, ``(n,)`` int64 each."""
        return self._pairs(lambda batch: (batch.seen_rows, batch.seen_items))

    def validation_pairs(self) -> tuple[Tensor, Tensor]:
        """Return users and items ``(num_pairs,)`` int64 of all validation interactions, the same on every rank."""
        return self._pairs(lambda batch: (batch.target_rows, batch.target_items))

    def _pairs(self, of: Callable[[RankingBatch], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return users and items of the validation users' batches, given the rows and items to take of each."""
        with self.alone():
            found = [(batch.users[rows], items) for batch in self._users(1.0) for rows, items in (of(batch),)]
        users, items = zip(*found, strict=True)
        return torch.cat(users), torch.cat(items)

    def suffix(self, budget: ResolvedBudget) -> str:
        """Return what names of results for a budget end in: nothing where there is one budget."""
        names = {each.name for budgets in self._by_form.values() for each in budgets}
        return f"@{budget.name}" if len(names) > 1 else ""

    def missing_results(
        self, name: str, budgets: Sequence[ResolvedBudget] | None = None, *, by_budget: bool = False
    ) -> Iterator[tuple[str, ResolvedBudget]]:
        """Iterate over results that an interrupted run lacks; one is there once the next is asked for.

        Args:
            name: Name of the results, before their suffix.
            budgets: Budgets that have one each (default: all).
            by_budget: Whether the state keeps names of budgets, as some methods' checkpoints do, rather than results'.

        Yields:
            The full name of a result, and its budget.
        """
        done = self.state.setdefault("done", [])
        for budget in self.budgets if budgets is None else budgets:
            result = f"{name}{self.suffix(budget)}"
            mark = budget.name if by_budget else result
            if mark not in done:
                yield result, budget
                done.append(mark)

    def parts(self) -> list[Problem]:
        """Return a problem for each form that may be kept, with a state of its own; this one where there is one."""
        if len(self._by_form) == 1:
            return [self]
        parts = []
        for form, budgets in self._by_form.items():
            part = copy.copy(self)
            part.kept, part.budgets, part.state = form, tuple(budgets), self.state.setdefault(form, {})
            parts.append(part)
        return parts

    def full_task(self, epochs: Epochs, *, turned: bool = False) -> Task:
        """Return the training of the full table.

        Args:
            epochs: How long it is trained.
            turned: Whether its columns are then turned so that the first carry most of the scores, where they can be.
        """
        return Task("pretrain", "pretrain", epochs, FULL, finish=partial(_finish, form=self.kept, turned=turned))


class Method(ABC):
    """A way to make a table for each of some budgets.

    ``run`` is a generator: it yields rounds of tasks and is sent their outcomes. It decides everything; whoever runs it
    knows only how to train a task. A run that was interrupted is started again with the state that it kept
    (:attr:`Problem.state`): the first round that it then asks for is the one that was interrupted. State is explicit,
    rather than replayed from a ledger of outcomes, because replaying a search would count all its candidates again, and
    would end in the same actions only where every last digit is the same.

    Attributes:
        chooses_form: Whether it finds out what each budget is best spent on, where a backbone leaves a choice.
    """

    chooses_form: ClassVar[bool] = False

    def min_size(self, network: Backbone, rebuilds_rows: bool) -> int:
        """Return the smallest size of a row that budgets are resolved with.

        Args:
            network: The backbone.
            rebuilds_rows: Whether rows of size 0 are rebuilt in the form that is kept of it.

        Raises:
            ValueError: If the backbone cannot do with it.
        """
        return 1

    @abstractmethod
    def run(self, problem: Problem) -> Rounds:
        """Ask for rounds and take their outcomes, until there is nothing left to train.

        Of the outcomes that compete for one name, the best on validation is kept as that result.

        Args:
            problem: What to make tables for.
        """

    def for_finished_run(self, checkpoint: str, num_probes: int, max_epochs: int) -> Method:
        """Return the method that makes tables for further budgets from a finished run, where there is a shorter way.

        Args:
            checkpoint: The run's ``last.ckpt``.
            num_probes: Probes a budget.
            max_epochs: Epochs of warm retraining; 0 only cuts the pre-trained table.

        Raises:
            ValueError: If there is none, as where nothing is pre-trained.
        """
        raise ValueError(f"export --budget: {type(self).__name__} has no table that other budgets can be cut out of")


def run_method(method: Method, problem: Problem, train: Callable[[Task], Outcome]) -> dict[str, Outcome]:
    """Run a method without Lightning, one task after another.

    Args:
        method: The method.
        problem: What to make tables for.
        train: Trains a task.

    Returns:
        The best outcome of each result by name.
    """
    results: dict[str, Outcome] = {}
    rounds = method.run(problem)
    outcomes: list[Outcome] | None = None
    while True:
        try:
            following = next(rounds) if outcomes is None else rounds.send(outcomes)
        except StopIteration:
            return results
        outcomes = [train(task) for task in following.tasks]
        for task, outcome in zip(following.tasks, outcomes, strict=True):
            if task.name is not None and (task.name not in results or outcome.quality > results[task.name].quality):
                results[task.name] = outcome


def _finish(network: Backbone, form: KeptForm, turned: bool) -> None:
    """Bring a trained table to the form that budgets are spent on."""
    if turned and isinstance(network, TurnsBasis):
        network.to_principal_basis()
    if isinstance(network, HasKeptForm):
        network.to_kept_form(form)
