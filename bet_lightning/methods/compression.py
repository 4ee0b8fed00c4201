"""A full table that is trained once, and compressed for every budget: what rivals to BET in bytes have in common."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.pretraining import PretrainSettings, pretraining
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task, Weights
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables import EmbeddingTable

_TABLES = "tables."  # what the names of a backbone's tables begin with
_logger = logging.getLogger(__name__)


class Compressed(NamedTuple):
    """What the training of a compressed table starts from.

    Attributes:
        weights: State of the backbone.
        tables: Tables of the method's own; None for masked ones.
        allocation: Sizes and format of masked tables.
    """

    weights: Weights
    tables: Sequence[EmbeddingTable] | None = None
    allocation: Allocation | None = None


class Compression(Method):
    """Pre-trains the full table, compresses it for each budget, and trains on what is left.

    The compressed table is validated untrained too, and the best is kept. Budgets that not even the smallest table
    fits are left out with a warning.

    Args:
        name: Name of the results.
        pretrain: How the full table is trained.
        train: How long the compressed table may be trained; with 0 epochs it is only compressed.
        warm_schedule: Learning rate of that training.
        turned: Whether the pre-trained table's columns are turned so that the first carry most of the scores, which
            stay what they are.

    Attributes:
        takes_params: Whether a budget in parameters has a meaning.
        rounds: Whether values have few levels, which they cross at the learning rate from fresh weights only.
    """

    takes_params: ClassVar[bool] = False
    rounds: ClassVar[bool] = False

    def __init__(
        self, name: str, pretrain: PretrainSettings, train: Epochs, warm_schedule: LRSchedule | None, turned: bool
    ) -> None:
        self.name = name
        self.pretrain = pretrain
        self.train = train
        self.warm_schedule = warm_schedule
        self.turned = turned  # not a `basis`: the command line would take BET's default of that name for it

    @abstractmethod
    def least_bytes(self, shape: TableShape) -> int:
        """Return the bytes of the smallest table that there is."""

    @abstractmethod
    def compress(self, pretrained: Weights, budget: ResolvedBudget) -> Compressed:
        """Compress the full table.

        Args:
            pretrained: State of the backbone with full masked tables, on the CPU.
            budget: What the result is to stay within, not below :meth:`least_bytes` where it is in bytes.
        """

    def min_size(self, network: Backbone, rebuilds_rows: bool) -> int:
        """Return 0: there are no rows with sizes of their own."""
        return 0

    def run(self, problem: Problem) -> Rounds:
        """Train the full table, then a compressed one for each budget: see :meth:`Method.run`.

        Raises:
            ValueError: If a budget is in parameters and that has no meaning, or none is large enough.
        """
        budgets = self._feasible(problem.budgets)
        if "pretrained" not in problem.state:
            after = len(budgets) * self.train.max_epochs
            task, _ = pretraining(problem, self.pretrain, turned=self.turned)
            (full,) = yield Round([task], shared=True, epochs_after=after)
            problem.state["pretrained"] = problem.agree(dict(full.weights))
        for name, budget in problem.missing_results(self.name, budgets):
            start = self.compress(problem.state["pretrained"], budget)
            schedule = self.warm_schedule or (None if self.rounds else problem.network.recipe.warm_schedule)
            task = Task("retrain", f"train {name}", self.train, name, budget, schedule=schedule, **start._asdict())
            after = (len(budgets) - budgets.index(budget) - 1) * self.train.max_epochs
            yield Round([task], shared=True, epochs_after=after)

    def _feasible(self, budgets: Sequence[ResolvedBudget]) -> list[ResolvedBudget]:
        """The budgets that a table fits into."""
        feasible, refused = [], ""
        for budget in budgets:
            if budget.unit == "params" and not self.takes_params:
                raise ValueError(f"{type(self).__name__} needs search.budget in bytes, got {budget.name}")
            least = self.least_bytes(budget.shape)
            if budget.unit == "bytes" and budget.bytes < least:
                refused = (
                    f"search.budget {budget.name} is too little for {type(self).__name__}: "
                    f"the smallest feasible budget.bytes is {least + budget.beside}"
                )
                _logger.warning("%s; it is left out", refused)
            else:
                feasible.append(budget)
        if not feasible:
            raise ValueError(refused)
        return feasible


def full_tables(weights: Weights) -> list[Tensor]:
    """Return the full tables of a backbone's state, ``(num_rows, max_size)`` float32 each."""
    found: list[Tensor] = []
    while (name := f"{_TABLES}{len(found)}.weight") in weights:
        found.append(weights[name])
    return found


def with_tables(weights: Weights, tables: Sequence[EmbeddingTable]) -> Compressed:
    """Return a backbone's state with other tables, as they are, in the place of the full ones."""
    state: Mapping[str, Tensor] = {name: value for name, value in weights.items() if not name.startswith(_TABLES)}
    for index, table in enumerate(tables):
        state = {**state, **{f"{_TABLES}{index}.{name}": value for name, value in table.state_dict().items()}}
    return Compressed(state, tables)
