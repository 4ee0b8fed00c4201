"""How a trial starts within a trainer, what its epochs leave, and how one that trains nothing is validated."""

import math
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch

from bet_lightning.callbacks.rounds import any_rank, wrap_again
from bet_lightning.callbacks.run_results import log_validation
from bet_lightning.data import DataSplit
from bet_lightning.modules import LRSchedule, RecommenderModule
from bet_lightning.search import TrainingPlan

Storage = Literal["masked", "packed"]


class Starts(NamedTuple):
    """What trainings start with.

    Attributes:
        schedules: Learning rates by start.
        refit_steps: Steps that a masked pre-trained table takes to make up for what is cut.
        seed: Seed of fresh weights.
        storage: What retrained tables are held in.
    """

    schedules: Mapping[str, LRSchedule]
    refit_steps: int
    seed: int
    storage: Storage


def begin_trial(trainer: pl.Trainer, module: RecommenderModule, plan: TrainingPlan, starts: Starts) -> None:
    """Give the module the data, weights, sizes, learning rate and a fresh optimiser for a training.

    Args:
        trainer: Its strategy sets the optimiser up.
        module: What is trained.
        plan: Its trial begins.
        starts: What the trial starts with.
    """
    begin, trial = time.monotonic(), plan.trial
    module.network.unpack()
    if trial.start == "warm":
        module.network.load_state_dict(plan.pretrained)
        module.set_sizes(trial.sizes, trial.cap, starts.refit_steps)
    else:
        module.network.reset_parameters(torch.Generator().manual_seed(starts.seed))
        module.set_sizes(trial.sizes, trial.cap)
    set_up_training(trainer, module, plan, starts)
    trial.seconds = time.monotonic() - begin


def set_up_training(trainer: pl.Trainer, module: RecommenderModule, plan: TrainingPlan, starts: Starts) -> None:
    """Give the module, which has a trial's weights and sizes, their storage, the learning rate and a fresh optimiser.

    Args:
        trainer: Its strategy sets the optimiser up.
        module: What is trained; its tables are masked.
        plan: Its trial begins, or goes on once the optimiser's state is restored.
        starts: What the trial starts with.
    """
    if starts.storage == "packed" and plan.trial.phase == "retrain":
        module.network.pack()
        if plan.is_shared:
            wrap_again(trainer)
    module.schedule = starts.schedules[plan.trial.start]
    trainer.strategy.setup_optimizers(trainer)


def check_loss(trainer: pl.Trainer, plan: TrainingPlan) -> None:
    """End a trial whose loss of the epoch is no number: a probe without a result, all else with an error.

    Raises:
        ValueError: If the trial is no probe.
    """
    trial, loss = plan.trial, float(trainer.callback_metrics.get("train/loss", 0.0))
    diverged = not math.isfinite(loss)
    if plan.is_shared:
        diverged = any_rank(trainer, diverged)
    if diverged and not trial.is_probe:
        option = "trainer.callbacks.init_args.probe_schedule.lr" if trial.start == "warm" else "model.schedule.lr"
        raise ValueError(
            f"{plan.label} diverged: its loss is {loss} in epoch {trial.epoch + 1} at the learning rate of {option}; "
            "lower it"
        )
    if diverged:
        trial.fail()


def record_epoch(
    trainer: pl.Trainer, module: RecommenderModule, plan: TrainingPlan, probe_metrics: Mapping[str, float]
) -> None:
    """Count an epoch of a trial that is not over, and keep its validation where it had one.

    Args:
        trainer: Has the logged loss and validation metrics.
        module: Has the weights.
        plan: Its trial trained.
        probe_metrics: Validation metrics on the users that probes are validated on.

    Raises:
        ValueError: If the loss is no number, unless the trial is a probe.
    """
    trial = plan.trial
    check_loss(trainer, plan)
    validated = trial.validates_next and not trial.failed
    trial.epoch += 1
    if validated:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics = {name.removeprefix("val/"): value for name, value in logged.items() if name.startswith("val/")}
        trial.record(metrics, probe_metrics, module.network.state_dict())
        if not trial.is_probe:
            log_validation(trainer, plan, metrics)


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
    begin, trial = time.monotonic(), plan.trial
    metrics = probe_metrics = evaluate_share(trainer, module, probe_user_share)
    if not trial.is_probe:
        metrics = evaluate_share(trainer, module, 1.0)
    trial.seconds += time.monotonic() - begin
    trial.record(metrics, probe_metrics, module.network.state_dict())
    if not trial.is_probe:
        log_validation(trainer, plan, metrics)


def evaluate_share(trainer: pl.Trainer, module: RecommenderModule, share: float) -> dict[str, float]:
    """Validation metrics of the table as it is on a share of the validation users."""
    users = trainer.val_dataloaders
    users.share = share  # type: ignore[union-attr]
    return module.evaluate(users)  # type: ignore[arg-type]


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
