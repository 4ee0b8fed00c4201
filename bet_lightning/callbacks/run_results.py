"""What a search leaves in its run folder and its loggers as it goes."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bet_lightning.backbones import Backbone
from bet_lightning.baselines import write_sizes
from bet_lightning.callbacks.rounds import any_rank
from bet_lightning.data import DataSplit
from bet_lightning.report import define_axes, print_results, report_run
from bet_lightning.results import Summary, new_result, write_actions, write_json, write_popularity
from bet_lightning.search import BET, PopularityProfile, TrainingPlan, Trial

FORMAT = 3  # of what a checkpoint has of a run: to be raised when that changes
_SECONDS_BETWEEN = 60.0  # saves while probes need no epochs
log = logging.getLogger(__name__)


def log_metrics(trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
    """Give numbers to all loggers, at the current step."""
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)


def log_validation(trainer: pl.Trainer, plan: TrainingPlan, metrics: Mapping[str, float]) -> None:
    """Log what a long training reached, by its own epochs."""
    key = plan.label.replace(" ", "/")
    named = {f"{key}/{name}": value for name, value in metrics.items()}
    log_metrics(trainer, {f"{key}/epoch": plan.trial.epoch, **named})


def begin_run(
    trainer: pl.Trainer, retrained: Iterable[str], users: PopularityProfile, items: PopularityProfile
) -> None:
    """Prepare loggers and run folder.

    Args:
        trainer: Its loggers learn the axes of what is to come.
        retrained: Names of the retrainings.
        users: Popularity of the users.
        items: Popularity of the items.
    """
    if trainer.is_global_zero:
        define_axes(trainer.loggers, retrained)
        write_popularity(Path(trainer.default_root_dir), users, items)


def check_same_run(state: Mapping[str, Any], data: DataSplit, caps: Sequence[int], storage: str) -> None:
    """Refuse to go on with a run under other conditions.

    Args:
        state: What the checkpoint has of its run.
        data: The split data.
        caps: The budgets in parameters.
        storage: What retrained tables are held in.

    Raises:
        ValueError: If the form of the state, data, budgets or storage are others.
    """
    if state.get("format") != FORMAT:
        raise ValueError("--ckpt_path: a run of another version of bet_lightning, which this one cannot go on with")
    summary = state["summary"]
    before = [budget["params"] for budget in summary["budgets"]]
    if before != list(caps):
        raise ValueError(f"--ckpt_path: a run with budgets of {before} parameters, not {list(caps)}")
    if summary["dataset"]["hash"] != data.hash:
        raise ValueError(f"--ckpt_path: a run on other data or another split, hash {summary['dataset']['hash']}")
    if (held := state.get("storage", "masked")) != storage:  # optimiser states are of its shapes
        raise ValueError(f"--ckpt_path: a run with TableSearch.storage {held}, not {storage}")


def take_round(trainer: pl.Trainer, summary: Summary, plan: TrainingPlan, backbone: Backbone) -> None:
    """Have the plan learn from a finished round, and write what it gave.

    Args:
        trainer: Its model has the backbone.
        summary: Content of ``summary.json``; changed.
        plan: The plan.
        backbone: What was trained; its tables are masked afterwards, with the best weights of a training.
    """
    for place, trial in enumerate(plan.round):
        if not trial.is_probe:
            backbone.unpack()  # checkpoints of results hold masked tables
            backbone.load_state_dict(trial.best_weights)
            keep_result(trainer, summary, plan, trial, backbone)
        plan.take(place)
        if trial.is_probe:
            report_probe(trainer, summary, plan, trial.phase)


def keep_result(trainer: pl.Trainer, summary: Summary, plan: TrainingPlan, trial: Trial, backbone: Backbone) -> None:
    """Save the finished training under each name that it is the best of.

    Args:
        trainer: Its model has the weights to save.
        summary: Content of ``summary.json``; changed.
        plan: The plan.
        trial: The training of its round.
        backbone: What was trained.
    """
    folder = Path(trainer.default_root_dir)
    best = ", ".join(f"{name} {value:.4f}" for name, value in trial.best_metrics.items())
    log.info("%s %s: best at epoch %d of %d: %s", trial.phase, trial.name, trial.best_epoch, trial.epoch, best)
    for name in plan.result_names(trial):
        if not plan.wins(name, trial):
            continue
        checkpoint = f"checkpoints/{'best' if name == BET else name}.ckpt"
        trainer.save_checkpoint(folder / checkpoint, weights_only=True)
        kept = [result for result in summary["results"] if result["name"] != name]
        summary["results"] = [*kept, new_result(summary, trial, name, checkpoint, backbone)]
        if trainer.is_global_zero:
            write_sizes(folder / "sizes" / f"{name}.txt", trial.sizes)
    if trainer.is_global_zero:
        write_json(folder / "summary.json", summary)


def report_probe(trainer: pl.Trainer, summary: Summary, plan: TrainingPlan, phase: str) -> None:
    """Write and log the probe that is over.

    Args:
        trainer: Its loggers get the numbers.
        summary: Content of ``summary.json``; changed.
        plan: The plan, which has learned from it.
        phase: ``probe`` or ``tune``.
    """
    folder = Path(trainer.default_root_dir)
    tuned = [found for record in plan.records + plan.earlier for found in record.get("tuned", {}).values()]
    summary["search"] = {
        "probes": len(plan.records),
        "best_fitness": plan.best_fitness,
        "seconds": plan.seconds_to_begin + sum(found["seconds"] for found in plan.records + tuned),
        "seconds_to_begin": plan.seconds_to_begin,
    }
    if trainer.is_global_zero:
        write_actions(folder, plan.records)
        write_json(folder / "summary.json", summary)
    if phase == "tune":
        log_metrics(trainer, {"tune/best_fitness": max(found["fitness"] for found in tuned)})
        return
    shown = ("iteration", "fitness", "predicted_fitness", "user_share", "seconds")
    metrics = {f"probe/{key}": plan.records[-1][key] for key in shown}
    log_metrics(trainer, metrics | {"probe/best_fitness": plan.best_fitness})


def end_run(trainer: pl.Trainer, summary: Summary) -> None:
    """Print the table with validation metrics, draw the plots, and say how to test.

    Args:
        trainer: Its loggers get the plots.
        summary: Content of ``summary.json``.
    """
    folder = Path(trainer.default_root_dir)
    if summary["results"] and trainer.is_global_zero:
        report_run(folder, trainer.loggers)
        print_results(summary, "valid")
        log.info("test metrics: python -m bet_lightning test --config %s", folder / "config.yaml")


def save_between(trainer: pl.Trainer, saved: float) -> float:
    """Save the run where no epoch ends for long: after a minute, or when the process is told to end.

    Args:
        trainer: Its checkpoint callback says where, if there is one.
        saved: When this was last done, by the monotonic clock.

    Returns:
        The same, from now on.

    Raises:
        SIGTERMException: If the process is to end.
    """
    now, callback = time.monotonic(), trainer.checkpoint_callback
    ends = any_rank(trainer, trainer.received_sigterm)
    if not ends and not any_rank(trainer, now - saved > _SECONDS_BETWEEN):
        return saved
    if isinstance(callback, ModelCheckpoint) and callback.dirpath:
        trainer.save_checkpoint(Path(callback.dirpath) / "last.ckpt", weights_only=False)  # all, not weights alone
    if ends:
        raise SIGTERMException
    return now
