"""What a search leaves in its run folder and its loggers as it goes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from bet_lightning.baselines import write_sizes
from bet_lightning.results import Summary, new_result, write_actions, write_json
from bet_lightning.search import BET, TrainingPlan

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


def keep_result(trainer: pl.Trainer, summary: Summary, plan: TrainingPlan, max_size: int) -> None:
    """Save the finished training under each name that it is the best of.

    Args:
        trainer: Its model has the weights to save.
        summary: Content of ``summary.json``; changed.
        plan: The plan, whose training is over.
        max_size: Largest size of a row.
    """
    trial, folder = plan.trial, Path(trainer.default_root_dir)
    best = ", ".join(f"{name} {value:.4f}" for name, value in trial.best_metrics.items())
    log.info("%s %s: best at epoch %d of %d: %s", trial.phase, trial.name, trial.best_epoch, trial.epoch, best)
    for name in plan.result_names(trial):
        if not plan.wins(name, trial):
            continue
        checkpoint = f"checkpoints/{'best' if name == BET else name}.ckpt"
        trainer.save_checkpoint(folder / checkpoint, weights_only=True)
        kept = [result for result in summary["results"] if result["name"] != name]
        summary["results"] = [*kept, new_result(trial, name, checkpoint, max_size)]
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
    for record in plan.records:
        record.setdefault("rank", trainer.global_rank)
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
