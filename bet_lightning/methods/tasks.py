"""What a method asks for, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import Backbone, Refit
from bet_lightning.dtypes import Dtype
from bet_lightning.ranking import quality
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import EmbeddingTable

if TYPE_CHECKING:
    from bet_lightning.recommender import AuxiliaryLoss

FULL = "full"  # name of the full table's result
Phase = Literal["pretrain", "probe", "tune", "retrain"]
Storage = Literal["masked", "packed"]
Weights = Mapping[str, Tensor]


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
        allocation: Sizes of masked tables, and what their values are held as; None leaves them full.
        tables: Tables of the method's own in place of masked ones, copied before they are trained.
        weights: State of the backbone to start from; None starts from fresh weights.
        refit: How tables cut out of ``weights`` compensate for what is cut.
        schedule: Learning rate; None takes the recommender's.
        auxiliary_loss: What is added to the loss of every batch: how tables of the method's own learn what is no value.
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
    auxiliary_loss: AuxiliaryLoss | None = None
    storage: Storage = "masked"
    user_share: float = 1.0
    keep_weights: bool = False
    keep: Literal["best", "last"] = "best"
    stop: Callable[[Backbone], bool] | None = None
    finish: Callable[[Backbone], None] | None = None

    @property
    def dtype(self) -> Dtype:
        """What values are held as while they are trained: floats are all trained as float32."""
        return self.allocation.form.dtype if self.allocation else "fp32"

    def num_bytes(self, network: Backbone) -> int:
        """Return the bytes of the tables that a backbone holds for it, as they are written."""
        if self.allocation is None or not network.has_prefix_tables:
            return network.num_bytes
        return self.allocation.form.num_bytes(network.shape, network.sizes)

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

    @property
    def key(self) -> str:
        """What it is known by again: the keys of its tasks."""
        return "\n".join(task.key for task in self.tasks)


Rounds = Generator[Round, Sequence[Outcome], None]  # what a method asks for, and is told of each


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
