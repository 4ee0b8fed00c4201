"""What a method is: it asks for trainings, is told what came of them, and says in the end what to keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import Backbone, Refit
from bet_lightning.budget import ResolvedBudget
from bet_lightning.ranking import quality
from bet_lightning.recommender import Recommender
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import EmbeddingTable

if TYPE_CHECKING:
    from bet_lightning.data import RankingBatch

FULL = "full"  # name of the full table's result
Phase = Literal["pretrain", "probe", "tune", "retrain"]
Storage = Literal["masked", "packed"]
Weights = Mapping[str, Tensor]
T = TypeVar("T")


class Agree(Protocol):
    """Returns the first rank's value on every rank."""

    def __call__(self, value: T) -> T:
        """Return it."""


@dataclass(frozen=True)
class Epochs:
    """How long a training may take.

    Args:
        max_epochs: Epochs at most; 0 validates the weights as they are.
        patience: Validations without a gain that end it.
        eval_every_n_epochs: Epochs between validations; the last epoch is always validated.

    Raises:
        ValueError: If a value is out of range.
    """

    max_epochs: int = 500
    patience: int = 5
    eval_every_n_epochs: int = 1

    def __post_init__(self) -> None:
        require_at_least(self, 0, "max_epochs")
        require_at_least(self, 1, "patience", "eval_every_n_epochs")


@dataclass(frozen=True, eq=False)
class Task:
    """A training that a method asks for.

    Attributes:
        phase: What it is for.
        label: What it is, in a few words, for people.
        epochs: How long it may take.
        name: Name of the result that it competes for; None where it only measures.
        budget: What its table is to stay within; None for the full table.
        allocation: Sizes of masked tables; None leaves them full.
        tables: Tables of the method's own in place of masked ones, copied before they are trained.
        weights: State of the backbone to start from; None starts from fresh weights.
        refit: How tables cut out of ``weights`` compensate for what is cut.
        schedule: Learning rate; None takes the recommender's.
        storage: Whether masked tables are packed before they are trained.
        user_share: Share of the validation users that it is validated on.
        keep_weights: Whether the outcome has weights though it competes for no result.
        keep: Which weights are kept: those of the ``best`` validation, or the ``last``, whatever their quality.
        stop: Ends the training after an epoch, looking at the backbone.
        finish: Changes the backbone, once it has the best weights, into what is kept.
    """

    phase: Phase
    label: str
    epochs: Epochs
    name: str | None = None
    budget: ResolvedBudget | None = None
    allocation: Allocation | None = None
    tables: Sequence[EmbeddingTable] | None = None
    weights: Weights | None = None
    refit: Refit = Refit()
    schedule: LRSchedule | None = None
    storage: Storage = "masked"
    user_share: float = 1.0
    keep_weights: bool = False
    keep: Literal["best", "last"] = "best"
    stop: Callable[[Backbone], bool] | None = None
    finish: Callable[[Backbone], None] | None = None

    @property
    def measures_only(self) -> bool:
        """Whether nothing but metrics is asked for; a training that diverges then is an outcome, not an error."""
        return self.name is None and not self.keep_weights

    @property
    def key(self) -> str:
        """What a resumed method must ask for again for its training to go on rather than to begin again."""
        sizes = 0 if self.allocation is None else self.allocation.key
        forms = [type(table).__name__ for table in self.tables or ()]
        start = "fresh" if self.weights is None else "warm"
        return f"{self.phase} {self.name} {start} {sizes} {forms} {self.epochs} {self.storage}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        metrics: ``recall@k`` and ``ndcg@k`` of the best validation by name; empty if it failed.
        epochs: Epochs that were trained.
        best_epoch: Epoch of the best validation; 0 if the table was best before it was trained.
        seconds: Seconds that it took.
        failed: Whether its loss left the numbers.
        weights: State of the backbone at the best validation; empty where the task only measures.
    """

    metrics: Mapping[str, float]
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    failed: bool = False
    weights: Weights = field(default_factory=dict, repr=False)

    @property
    def quality(self) -> float:
        """Mean recall and ndcg; 0 if it failed."""
        return quality(self.metrics) if self.metrics else 0.0


@dataclass(frozen=True)
class Round:
    """Tasks that are run at the same time, one a rank, or one by all ranks together.

    Attributes:
        tasks: At least one; where there are fewer than ranks, the last ranks repeat the last one.
        shared: Whether all ranks train the one task together, each on its share of the data.
        epochs_after: About how many epochs are to come after it.
    """

    tasks: Sequence[Task]
    shared: bool = False
    epochs_after: int = 0


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
        budgets: Budgets, the largest first.
        seed: Seed of everything that a method draws.
        num_ranks: Ranks that train tasks of a round at the same time.
        agree: Returns the first rank's value on every rank: on a GPU last digits may differ between ranks.
        journal: Takes down what is measured.
        state: What the method kept in a checkpoint, tensors and plain values; empty at first. A method adds to it what
            it needs in order to go on from its next round.
    """

    def __init__(
        self,
        recommender: Recommender,
        users: Callable[[float], Iterable[RankingBatch]],
        budgets: Sequence[ResolvedBudget],
        *,
        seed: int = 0,
        num_ranks: int = 1,
        agree: Agree = lambda value: value,
        journal: Journal | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.recommender = recommender
        self.budgets = tuple(budgets)
        self.seed = seed
        self.num_ranks = num_ranks
        self.agree = agree
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
        return self.agree(self.recommender.evaluate(self._users(user_share)))

    def suffix(self, budget: ResolvedBudget) -> str:
        """Return what names of results for a budget end in: nothing where there is one budget."""
        return f"@{budget.name}" if len(self.budgets) > 1 else ""

    def full_task(self, epochs: Epochs) -> Task:
        """Return the training of the full table."""
        return Task("pretrain", "pretrain", epochs, FULL)


class Method(ABC):
    """A way to make a table for each of some budgets.

    ``run`` is a generator: it yields rounds of tasks and is sent their outcomes. It decides everything; whoever runs it
    knows only how to train a task. A run that was interrupted is started again with the state that it kept
    (:attr:`Problem.state`): the first round that it then asks for is the one that was interrupted. State is explicit,
    rather than replayed from a ledger of outcomes, because replaying a search would count all its candidates again, and
    would end in the same actions only where every last digit is the same.
    """

    def min_size(self, network: Backbone) -> int:
        """Return the smallest size of a row that budgets are resolved with.

        Raises:
            ValueError: If the backbone cannot do with it.
        """
        return 1

    @abstractmethod
    def run(self, problem: Problem) -> Generator[Round, Sequence[Outcome], None]:
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


def generator_of(seed: int) -> torch.Generator:
    """Return a fresh CPU generator."""
    return torch.Generator().manual_seed(seed)


def require_at_least(settings: object, low: int, *names: str) -> None:
    """Refuse settings below a bound, by the name of the flag's last part.

    Raises:
        ValueError: If one is below.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < low:
            section = type(settings).__name__.removesuffix("Settings").lower()
            flag = f"search.method: {name}" if type(settings) is Epochs else f"search.method.{section}.{name}"
            raise ValueError(f"{flag} must be at least {low}, got {value}")
