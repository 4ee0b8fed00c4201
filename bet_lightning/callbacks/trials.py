"""How a trial starts within a trainer, and how one that trains nothing is validated."""

import time
from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from bet_lightning.callbacks.run_results import log_validation
from bet_lightning.data import DataSplit
from bet_lightning.modules import LRSchedule, RecommenderModule
from bet_lightning.search import TrainingPlan, Trial


def begin_trial(
    trainer: pl.Trainer,
    module: RecommenderModule,
    trial: Trial,
    *,
    pretrained: Mapping[str, Tensor],
    schedules: Mapping[str, LRSchedule],
    refit_steps: int,
    seed: int,
) -> None:
    """Give the module the weights, sizes, learning rate and a fresh optimiser for a training.

    Args:
        trainer: Its strategy sets the optimiser up.
        module: What is trained.
        trial: The training.
        pretrained: State of the backbone that warm trainings start from.
        schedules: Learning rates by start.
        refit_steps: Steps that a masked pre-trained table takes to make up for what is cut.
        seed: Seed of fresh weights.
    """
    begin = time.monotonic()
    if trial.start == "warm":
        module.network.load_state_dict(pretrained)
        module.set_sizes(trial.sizes, trial.cap, refit_steps)
    else:
        module.network.reset_parameters(torch.Generator().manual_seed(seed))
        module.set_sizes(trial.sizes, trial.cap)
    module.schedule = schedules[trial.start]
    trainer.strategy.setup_optimizers(trainer)
    trial.seconds = time.monotonic() - begin


def validate_untrained(
    trainer: pl.Trainer, module: RecommenderModule, plan: TrainingPlan, probe_user_share: float
) -> None:
    """Validate a table as it is: on the probes' users, and on all of them too unless it is a probe's.

    Args:
        trainer: Its validation users are ranked.
        module: Holds the table.
        plan: Its trial takes the metrics.
        probe_user_share: Share of the users that probes are validated on.
    """
    users, trial = trainer.val_dataloaders, plan.trial
    begin = time.monotonic()
    users.share = probe_user_share  # type: ignore[union-attr]
    metrics = probe_metrics = module.evaluate(users)  # type: ignore[arg-type]
    if not trial.is_probe:
        users.share = 1.0  # type: ignore[union-attr]
        metrics = module.evaluate(users)  # type: ignore[arg-type]
    trial.seconds += time.monotonic() - begin
    trial.record(metrics, probe_metrics, module.network.state_dict())
    if not trial.is_probe:
        log_validation(trainer, plan, metrics)


def recommender(module: pl.LightningModule) -> RecommenderModule:
    """The module as what ``TableSearch`` trains.

    Raises:
        TypeError: If it is another.
    """
    if not isinstance(module, RecommenderModule):
        raise TypeError(f"TableSearch trains a RecommenderModule, got {type(module).__name__}")
    return module


def dataset_of(trainer: pl.Trainer) -> DataSplit:
    """The split data of a trainer's data module."""
    dataset: DataSplit = trainer.datamodule.dataset  # type: ignore[attr-defined]
    return dataset
