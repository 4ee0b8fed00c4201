"""Runs methods on tiny data and without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bet_lightning.backbones import MF, Backbone, Edges
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.data import InteractionDataModule
from bet_lightning.methods import Epochs, Method, Outcome, Problem, Task, run_method
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.objectives import BPR
from bet_lightning.recommender import Recommender
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.training import train_task
from tests.conftest import TINY

PRETRAIN = PretrainSettings(max_epochs=3)
NUM_ROWS, COLUMNS = 210, 8


class Run(NamedTuple):
    """What a method did: its results, the tasks that it asked for in order, and what it was run on."""

    results: dict[str, Outcome]
    tasks: list[Task]
    problem: Problem

    @property
    def pretrained(self) -> Tensor:
        """The first full table."""
        table: Tensor = self.problem.state["pretrained"]["tables.0.weight"]
        return table


@cache
def tiny_data() -> InteractionDataModule:
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    return data


def run(
    method: Method,
    budgets: Sequence[Budget | str | int],
    backbone: Callable[[Edges, int], Backbone] = MF,
    state: dict[str, Any] | None = None,
    fail_at: int | None = None,
) -> Run:
    """Run a method; the backbone is left with its last table.

    Args:
        method: The method.
        budgets: Budgets, or their short forms; integers are bytes, be they too few for any table with sizes.
        backbone: Class of the backbone.
        state: What an interrupted run left.
        fail_at: Number of the task that is interrupted by a KeyboardInterrupt.
    """
    data = tiny_data()
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    recommender = Recommender(backbone(edges, COLUMNS), BPR(), 1e-4, LRSchedule(0.03))
    network, tasks = recommender.network, list[Task]()
    given = [Budget.parse(budget) if isinstance(budget, str) else budget for budget in budgets]
    resolved = [in_bytes(network.shape, budget) for budget in given if isinstance(budget, int)] or resolve_budgets(
        [budget for budget in given if isinstance(budget, Budget)],
        network.shape,
        method.min_size(network, network.rebuilds_rows),
    )
    problem = Problem(recommender, lambda share: data.val_dataloader(), resolved, seed=3, state=state)

    def train_once(task: Task) -> Outcome:
        tasks.append(task)
        if len(tasks) == fail_at:
            raise KeyboardInterrupt
        return train_task(task, recommender, data.train_dataloader(), lambda share: data.val_dataloader(), 3)

    return Run(run_method(method, problem, train_once), tasks, problem)


def in_bytes(shape: TableShape, num_bytes: int) -> ResolvedBudget:
    """A budget of so many bytes, whatever else fits into it."""
    return replace(Budget(bytes=4 * shape.params).resolve(shape, 0), name=f"{num_bytes}B", bytes=num_bytes)


def only(epochs: int = 0) -> dict[str, Any]:
    """Settings of a short run: three epochs for the full table, and some for the compressed one."""
    return {"pretrain": PRETRAIN, "train": Epochs(epochs)}
