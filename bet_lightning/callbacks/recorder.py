"""Takes down what a method does as it goes: files of the run folder, and numbers for the loggers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl

from bet_lightning.backbones import Backbone
from bet_lightning.data import DataSplit
from bet_lightning.methods.base import Journal
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.methods.rules import write_sizes
from bet_lightning.methods.tasks import FULL, Outcome, Phase, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.runs.curves import CURVES, CurvePoint, append_point
from bet_lightning.runs.folder import (
    checkpoint_name,
    link_best,
    peak_memory_mb,
    sizes_path,
    versions,
    write_frequency,
    write_popularity,
    write_probes,
    write_record,
)
from bet_lightning.runs.html_report import write_report
from bet_lightning.runs.records import BudgetRecord, ResultRecord, RunRecord, SearchRecord, is_better
from bet_lightning.runs.report import (
    define_axes,
    define_result_axis,
    describe_plan,
    next_commands,
    print_results,
    report_run,
)

log = logging.getLogger(__name__)


class Recorder(Journal):
    """Writes a run down.

    Args:
        trainer: Has loggers, and saves checkpoints.
        backbone: What is trained.
        data: The split data.
        budgets: The budgets.
        method: Name of the method.
        seed: Seed of the run.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        backbone: Backbone,
        data: DataSplit,
        budgets: Sequence[ResolvedBudget],
        method: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.trainer = trainer
        self.backbone = backbone
        self.folder = Path(trainer.default_root_dir)
        self._axes: set[str] = set()  # results that Weights & Biases knows the axis of
        self.record = RunRecord(
            dataset=data.statistics(),
            backbone=type(backbone).__name__,
            d_max=backbone.row_width,
            method=method,
            budgets=tuple(BudgetRecord.of(budget) for budget in budgets),
            versions=versions(),
            seed=seed,
        )

    def begin(self, user_frequency: PopularityProfile, item_frequency: PopularityProfile) -> None:
        """Say what is going to be done; prepare loggers and run folder."""
        if self.trainer.is_global_zero:
            log.info("%s", describe_plan(self.record, self.backbone.shape))
            define_axes(self.trainer.loggers)
            write_popularity(self.folder, user_frequency, item_frequency)
            write_frequency(self.folder, self.backbone.frequency.cpu())
            (self.folder / CURVES).unlink(missing_ok=True)  # another run's

    def validated(self, task: Task, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log and take down what a training that competes for a result reached, by its own epochs."""
        if task.name is None:
            return
        if self.trainer.is_global_zero:
            append_point(self.folder, CurvePoint.of(task, epoch, metrics))
        key = "pretrain" if task.phase == "pretrain" else f"retrain/{task.name}"
        if task.phase != "pretrain" and self.trainer.is_global_zero and task.name not in self._axes:
            self._axes.add(task.name)
            define_result_axis(self.trainer.loggers, task.name)
        self._log({f"{key}/epoch": epoch, **{f"{key}/{name}": value for name, value in metrics.items()}})

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Save a finished training as its result, if it is the best of that name; the backbone has its best weights."""
        full = self.record.full
        share = f", {outcome.quality / full.quality:.1%} of the full table" if full and full.quality else ""
        quality = f"mean recall and ndcg {outcome.quality:.4f}{share}"
        log.info("%s: best at epoch %d of %d, %s", task.label, outcome.best_epoch, outcome.epochs, quality)
        if task.name is None or not is_better(outcome, self.record.result(task.name)):
            return
        checkpoint = checkpoint_name(task.name)
        self.trainer.save_checkpoint(self.folder / checkpoint, weights_only=True)
        params = self.backbone.num_used
        budget = task.budget
        result = ResultRecord(
            task.name,
            budget.name if budget else None,
            params,
            task.num_bytes(self.backbone),
            dict(outcome.metrics),
            {},
            outcome.epochs,
            outcome.best_epoch,
            outcome.seconds,
            peak_memory_mb(),
            checkpoint,
            dtype=task.dtype,
        )
        self.record = self.record.with_result(result)
        if not self.trainer.is_global_zero:
            return
        if self.backbone.has_prefix_tables:
            write_sizes(sizes_path(self.folder, task.name), self.backbone.sizes.cpu())
        if task.name != FULL and budget and (best := self.record.best(budget.name)):
            suffix = f"@{budget.name}" if len(self.record.budgets) > 1 else ""
            link_best(self.folder, best.checkpoint, f"best{suffix}")
        write_record(self.folder, self.record)

    def take(self, records: Sequence[ProbeRecord], phase: Phase) -> None:
        """Write and log probed actions: see :meth:`Journal.take`."""
        super().take(records, phase)
        tuned = [each for record in records for each in record.tuned.values()]
        seconds = sum(record.seconds for record in records) + sum(each.seconds for each in tuned)
        self.record = replace(
            self.record,
            search=SearchRecord(
                len(records), self.best_fitness, self.seconds_to_begin + seconds, self.seconds_to_begin
            ),
        )
        if self.trainer.is_global_zero:
            write_probes(self.folder, records)
            write_record(self.folder, self.record)
        if phase == "tune":
            self._log({"tune/best_fitness": max(each.fitness for each in tuned)})
            return
        last, best = records[-1], self.best_fitness or 0.0
        shown = ("iteration", "fitness", "predicted_fitness", "seconds")
        numbers = {f"probe/{name}": float(getattr(last, name)) for name in shown}
        self._log({**numbers, "probe/user_share": last.draw.user_share, "probe/best_fitness": best})

    def end(self) -> None:
        """Print the table with validation metrics, draw plots and report, and say how to test."""
        if self.record.results and self.trainer.is_global_zero:
            report_run(self.folder, self.trainer.loggers)
            write_report(self.folder)
            print_results(self.record, "valid")
            log.info("%s", next_commands(self.folder / "config.yaml"))

    def _log(self, metrics: Mapping[str, float]) -> None:
        """Give numbers to all loggers, at the current step."""
        for logger in self.trainer.loggers:
            logger.log_metrics(dict(metrics), step=self.trainer.global_step)
