"""PEP: plug-in embedding pruning."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Outcome, Round, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.tables.soft_threshold import Granularity, PrunedTable, SoftThresholdTable
from bet_lightning.tables.sparse_bytes import sparse_bytes


class PEP(Method):
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
        self.granularity: Granularity = granularity
        self.initial_threshold = initial_threshold
        self.learn = learn
        self.train = train

    def run(self, problem: Problem) -> Generator[Round, Sequence[Outcome], None]:
        """Learn what to keep for a budget, and train it: see :meth:`Method.run`."""
        masks: dict[str, list[Tensor]] = problem.state.setdefault("masks", {})
        done = problem.state.setdefault("done", [])
        for budget in problem.budgets:
            if budget.name in done:
                continue
            name = f"pep{problem.suffix(budget)}"
            count = count_within(budget)
            if budget.name not in masks:
                yield Round([self._learning(problem.network, name, count)], shared=True)
                learned = [table for table in problem.network.tables if isinstance(table, SoftThresholdTable)]
                masks[budget.name] = keep_largest([table.margin().cpu() for table in learned], count)
            rows, columns = problem.network.num_rows, problem.network.max_size
            tables = [PrunedTable(rows, columns, mask) for mask in masks[budget.name]]
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, tables=tables)], shared=True)
            done.append(budget.name)
            del masks[budget.name]

    def _learning(self, network: Backbone, name: str, count: int) -> Task:
        """The training of thresholds, until few enough entries are above them."""
        shape = network.num_rows, network.max_size
        tables = [SoftThresholdTable(*shape, self.granularity, self.initial_threshold) for _ in network.tables]
        return Task(
            "tune",
            f"learn thresholds of {name}",
            self.learn,
            tables=tables,
            keep="last",
            keep_weights=True,
            stop=lambda trained: trained.num_used <= count,
        )


def count_within(budget: ResolvedBudget) -> int:
    """Return how many entries a budget allows: in bytes, with an index each table pays for."""
    if budget.unit == "params":
        return budget.params
    shape = budget.shape
    columns = shape.width // shape.num_tables

    def cost(count: int) -> int:
        # entries of one table are counted as if they were spread evenly over the tables
        return shape.num_tables * sparse_bytes(-(-count // shape.num_tables), shape.num_rows, columns)

    low, high = 0, shape.params
    while low < high:
        middle = (low + high + 1) // 2
        if cost(middle) <= budget.bytes:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise ValueError(f"budget {budget.name} leaves no entry beside the index of a pruned table")
    return low


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
