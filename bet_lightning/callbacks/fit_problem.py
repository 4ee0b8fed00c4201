"""What a Lightning fit gives a method: its module, its data, and the validation users of all ranks."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

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
            journal=journal,
            state=state,
        )
        self._trainer = trainer
        self._module = module

    def evaluate(self, user_share: float = 1.0) -> dict[str, float]:
        """Return validation metrics: see :meth:`Problem.evaluate`."""
        with devices.alone(self._trainer, self._module):
            return super().evaluate(user_share)

    def validation_pairs(self) -> tuple[Tensor, Tensor]:
        """Return all validation interactions: see :meth:`Problem.validation_pairs`."""
        with devices.alone(self._trainer, self._module):
            return super().validation_pairs()


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
