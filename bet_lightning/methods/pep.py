"""PEP: plug-in embedding pruning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.tables.base import EmbeddingTable
from bet_lightning.tables.soft_threshold import Granularity, PrunedTable, SoftThresholdTable
from bet_lightning.tables.sparse_bytes import sparse_bytes

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch
    from bet_lightning.recommender import Recommender


class ThresholdPruning(Method):
    """Learns thresholds of a table's entries, then trains those that are furthest above theirs from initial values.

    Args:
        name: Name of the results.
        learn: How long thresholds are learned.
        train: How long the entries kept are trained again.
    """

    def __init__(self, name: str, learn: Epochs, train: Epochs) -> None:
        self.name = name
        self.learn = learn
        self.train = train

    @abstractmethod
    def count(self, budget: ResolvedBudget) -> int:
        """Return how many entries are kept, over all tables."""

    @abstractmethod
    def soft_table(self, budget: ResolvedBudget) -> EmbeddingTable:
        """Return one of a backbone's tables, whose thresholds are in a :class:`SoftThresholdTable`."""

    @abstractmethod
    def pruned_table(self, budget: ResolvedBudget, mask: Tensor) -> EmbeddingTable:
        """Return the same table with some entries alone, given a mask of the shape of its thresholds' margins."""

    def learning_loss(self, recommender: Recommender, batch: BPRBatch) -> Tensor:
        """Return what is added to the loss of a batch while thresholds are learned: nothing."""
        return torch.zeros((), device=batch.users.device)

    def run(self, problem: Problem) -> Rounds:
        """Learn what to keep for a budget, and train it: see :meth:`Method.run`."""
        masks: dict[str, list[Tensor]] = problem.state.setdefault("masks", {})
        for name, budget in problem.missing_results(self.name, by_budget=True):
            count = self.count(budget)
            if budget.name not in masks:
                yield Round([self._learning(name, budget, count)], shared=True)
                parts = problem.network.tables.modules()
                margins = [part.margin().cpu() for part in parts if isinstance(part, SoftThresholdTable)]
                masks[budget.name] = keep_largest(margins, count)
            tables = [self.pruned_table(budget, mask) for mask in masks[budget.name]]
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, tables=tables)], shared=True)
            del masks[budget.name]

    def _learning(self, name: str, budget: ResolvedBudget, count: int) -> Task:
        """The training of thresholds, until few enough entries are above them."""

        def few_enough(network: Backbone) -> bool:
            return network.num_used <= count

        return Task(
            "tune",
            f"learn thresholds of {name}",
            self.learn,
            tables=[self.soft_table(budget) for _ in range(budget.shape.num_tables)],
            keep="last",
            keep_weights=True,
            stop=few_enough,
            auxiliary_loss=self.learning_loss,
        )


class PEP(ThresholdPruning):
    """Learnable thresholds that prune single entries, then a lottery ticket (Liu et al. 2021, ICLR, arXiv 2101.07577).

    A full table is trained with thresholds below which entries are zero; there is no sparsity loss, thresholds grow by
    the task's gradient. It ends when no more entries are left than the budget allows. What is left is trained again
    from its initial values under a fixed mask.

    Deviations: the paper stops at a step whose count is below a target and never reaches targets that thresholds do not
    grow to; here training also ends with its last epoch, and in either case the entries kept are the budget's number of
    those furthest above their thresholds, over all tables, so that the budget is met exactly. Counts are taken after
    epochs, not steps. A budget in bytes pays for the index of an unstructured mask.

    Args:
        granularity: What has a threshold of its own (paper: each entry of MovieLens' table).
        initial_threshold: Initial value of s, thresholds being its sigmoid (paper: -15).
        learn: How long thresholds are learned.
        train: How long the entries kept are trained again.
    """

    def __init__(
        self,
        granularity: Granularity = "entry",
        initial_threshold: float = -15.0,
        learn: Epochs = Epochs(max_epochs=30),
        train: Epochs = Epochs(),
    ) -> None:
        super().__init__("pep", learn, train)
        self.granularity: Granularity = granularity
        self.initial_threshold = initial_threshold

    def count(self, budget: ResolvedBudget) -> int:
        """Return how many entries a budget allows: see :meth:`ThresholdPruning.count`."""
        return count_within(budget)

    def soft_table(self, budget: ResolvedBudget) -> EmbeddingTable:
        """Return a full table with thresholds: see :meth:`ThresholdPruning.soft_table`."""
        shape = budget.shape
        columns = shape.width // shape.num_tables
        return SoftThresholdTable(shape.num_rows, columns, self.granularity, self.initial_threshold)

    def pruned_table(self, budget: ResolvedBudget, mask: Tensor) -> EmbeddingTable:
        """Return a full table with some entries alone: see :meth:`ThresholdPruning.pruned_table`."""
        num_rows, columns = mask.shape
        return PrunedTable(num_rows, columns, mask)


def count_within(budget: ResolvedBudget, num_rows: int | None = None) -> int:
    """Return how many entries a budget allows: in bytes, with an index each table pays for.

    Args:
        budget: The budget.
        num_rows: Rows of a table that is pruned (default: one a user and item).

    Raises:
        ValueError: If it allows none.
    """
    rows = budget.shape.num_rows if num_rows is None else num_rows
    low, high = 0, rows * budget.shape.width
    while low < high:
        middle = (low + high + 1) // 2
        if cost_of(middle, budget, rows) <= budget.amount:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise ValueError(f"budget {budget.name} leaves no entry beside the index of a pruned table")
    return low


def cost_of(count: int, budget: ResolvedBudget, num_rows: int) -> int:
    """Return what entries of pruned tables cost in the unit of a budget: in bytes, with an index each table pays for.

    Args:
        count: Entries over all tables; those of one are counted as if they were spread evenly.
        budget: The budget.
        num_rows: Rows of a table.
    """
    if budget.unit == "params":
        return count
    tables = budget.shape.num_tables
    return tables * sparse_bytes(-(-count // tables), num_rows, budget.shape.width // tables)


def keep_largest(margins: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return masks of the largest margins, exactly so many over all tables; among equal ones the earlier goes first.

    Args:
        margins: A tensor a table.
        count: Entries kept.
    """
    flat = torch.cat([margin.flatten() for margin in margins])
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[flat.argsort(descending=True, stable=True)[:count]] = True
    parts = mask.split([margin.numel() for margin in margins])
    return [part.view_as(margin) for part, margin in zip(parts, margins, strict=True)]
