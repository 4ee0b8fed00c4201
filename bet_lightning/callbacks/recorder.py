"""Takes down what a method does as it goes: files of the run folder, and numbers for the loggers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl

from bet_lightning.backbones import Backbone
from bet_lightning.budget import format_bytes
from bet_lightning.data import DataSplit
from bet_lightning.deploy.packing import byte_counts, id_tensors, tensors_beside
from bet_lightning.methods.base import Journal
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.methods.rules import write_sizes
from bet_lightning.methods.tasks import FULL, Outcome, Phase, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.runs.curves import CURVES, CurvePoint, append_point
from bet_lightning.runs.dashboards import GLOBAL_STEP, Dashboard
from bet_lightning.runs.folder import (
    ACTIONS,
    checkpoint_name,
    link_best,
    peak_memory_mb,
    read_probes,
    sizes_path,
    versions,
    write_frequency,
    write_popularity,
    write_probes,
    write_record,
)
from bet_lightning.runs.html_report import draw_run
from bet_lightning.runs.measures import key_of
from bet_lightning.runs.records import BudgetRecord, ResultRecord, RunRecord, SearchRecord, is_better
from bet_lightning.runs.report import describe_plan, next_commands, print_results
from bet_lightning.runs.users import USERS

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
        self.data = data
        self.folder = Path(trainer.default_root_dir)
        self.dashboard = Dashboard(trainer.loggers, self.folder)
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
            if any(budget.unit == "bytes" for budget in self.record.budgets):
                log.info("%s", self._describe_beside())
            write_popularity(self.folder, user_frequency, item_frequency)
            write_frequency(self.folder, self.backbone.frequency.cpu())
            for name in (ACTIONS, CURVES, USERS):  # another run's
                (self.folder / name).unlink(missing_ok=True)
            self.dashboard.begin(self.record)

    def go_on(self, record: RunRecord) -> None:
        """Go on with what a run that was interrupted said of itself."""
        self.record = record
        if self.trainer.is_global_zero:
            self.dashboard.begin(record)

    def _describe_beside(self) -> str:
        """Say what an export has beside the table that a budget is for."""
        beside = tensors_beside(self.backbone, self.data, True, self.backbone.rebuilds_rows)
        try:
            beside |= id_tensors(self.data)
        except ValueError as error:
            log.warning("what is found could not be exported: %s", error)
        parts = [f"{part.replace('_', ' ')} {format_bytes(n)}" for part, n in byte_counts(beside).items() if n]
        advice = "" if any(budget.beside for budget in self.record.budgets) else "; --search.budget.covers can count it"
        return f"beside the table, an export has: {', '.join(parts)}{advice}"

    def validated(self, task: Task, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log and take down what a training that competes for a result reached, by its own epochs."""
        if self.trainer.is_global_zero:  # Lightning logs them a moment later
            self.dashboard.define_curves([f"val/{name}" for name in metrics], GLOBAL_STEP)
        if task.name is None:
            return
        if self.trainer.is_global_zero:
            append_point(self.folder, CurvePoint.of(task, epoch, metrics))
        earlier = self.record.result(task.name)
        number = f"#{earlier.trainings + 1}" if earlier else ""  # several may compete for one name
        key = "pretrain" if task.phase == "pretrain" else f"retrain/{key_of(task.name)}{number}"
        self._log({f"{key}/{name}": value for name, value in metrics.items()}, f"{key}/epoch", epoch)

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Save a finished training as its result, if it is the best of that name; the backbone has its best weights."""
        full = self.record.full
        share = f", {outcome.quality / full.quality:.1%} of the full table" if full and full.quality else ""
        quality = f"mean recall and ndcg {outcome.quality:.4f}{share}"
        log.info("%s: best at epoch %d of %d, %s", task.label, outcome.best_epoch, outcome.epochs, quality)
        if task.name is None:
            return
        earlier = self.record.result(task.name)
        trainings = earlier.trainings + 1 if earlier else 1
        if earlier and not is_better(outcome, earlier):
            self.record = self.record.with_result(replace(earlier, trainings=trainings))
            if self.trainer.is_global_zero:
                write_record(self.folder, self.record)
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
            beside=budget.beside if budget else 0,
            trainings=trainings,
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
        self.dashboard.update(self.record)

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
            self._log({"tune/best_fitness": max(each.fitness for each in tuned)}, "tune/number", len(tuned))
            return
        if self.trainer.is_global_zero:
            self.dashboard.probed(records)
        last, best = records[-1], self.best_fitness or 0.0
        numbers = {f"probe/{name}": float(getattr(last, name)) for name in ("fitness", "predicted_fitness", "seconds")}
        numbers |= {"probe/user_share": last.draw.user_share, "probe/best_fitness": best}
        self._log(numbers, "probe/iteration", len(records) - 1)

    def end(self) -> None:
        """Print the table with validation metrics, draw plots and report, and say how to test."""
        if self.record.results and self.trainer.is_global_zero:
            probes = read_probes(self.folder / ACTIONS) if (self.folder / ACTIONS).is_file() else []
            self.dashboard.end(self.record, probes, draw_run(self.folder))
            print_results(self.record, "valid")
            log.info("%s", next_commands(self.folder / "config.yaml"))

    def _log(self, metrics: Mapping[str, float], axis: str, place: int) -> None:
        """Give numbers to all loggers, at the current step and at a place on an axis of their own."""
        if self.trainer.is_global_zero:
            self.dashboard.define_curves(metrics, axis)
        for logger in self.trainer.loggers:
            logger.log_metrics({axis: place, **metrics}, step=self.trainer.global_step)
