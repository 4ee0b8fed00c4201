"""What a Lightning fit gives a method: its module, its data, and the validation users of all ranks."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl

from bet_lightning.callbacks import devices
from bet_lightning.data import DataSplit, RankingBatch
from bet_lightning.methods.base import BudgetsByForm, Journal, Problem
from bet_lightning.methods.tasks import Outcome, Task
from bet_lightning.modules import RecommenderModule


class FitProblem(Problem):
    """A problem within a fit: every rank evaluates all users for itself, as probes are validated.

    Args:
        trainer: Has the validation users and the ranks.
        module: Has the recommender.
        budgets: Budgets by what they may be spent on.
        seed: See :class:`Problem`.
        journal: See :class:`Problem`.
        state: See :class:`Problem`.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: RecommenderModule,
        budgets: BudgetsByForm,
        *,
        seed: int,
        journal: Journal,
        state: dict[str, Any],
    ) -> None:
        super().__init__(
            module.recommender,
            lambda share: validation_users(trainer, share),
            budgets,
            seed=seed,
            num_ranks=trainer.world_size,
            agree=devices.agreement(trainer),
            alone=lambda: devices.alone(trainer, module),
            journal=journal,
            state=state,
        )


def validation_users(trainer: pl.Trainer, share: float) -> Iterable[RankingBatch]:
    """Return this rank's validation users, or a share of them."""
    loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
    loader.share = share
    batches: Iterable[RankingBatch] = loader
    return batches


def hold(module: RecommenderModule, task: Task, outcome: Outcome) -> None:
    """Let the backbone hold an outcome's weights, which another rank may have trained."""
    if task.tables is not None:
        module.network.use_tables([type(table).from_description(table.describe()) for table in task.tables])
    else:
        module.network.use_masked_tables(task.dtype)
    module.network.load_state_dict(outcome.weights)


def module_of(module: pl.LightningModule) -> RecommenderModule:
    """Return a module as what a search trains.

    Raises:
        TypeError: If it is another.
    """
    if not isinstance(module, RecommenderModule):
        raise TypeError(f"TableSearch trains a RecommenderModule, got {type(module).__name__}")
    return module


def dataset_of(trainer: pl.Trainer) -> DataSplit:
    """Return the split data of a trainer's data module."""
    dataset: DataSplit = trainer.datamodule.dataset  # type: ignore[attr-defined]
    return dataset
