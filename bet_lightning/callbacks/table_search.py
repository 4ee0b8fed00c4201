"""Runs a method as epochs of one Lightning fit: the method asks for trainings, this callback trains them."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bet_lightning.budget import BudgetLike, parse_budgets
from bet_lightning.callbacks import devices
from bet_lightning.callbacks.budgets import each_once, resolve_by_form
from bet_lightning.callbacks.columns import share_columns
from bet_lightning.callbacks.fit_problem import FitProblem, dataset_of, hold, module_of, validation_users
from bet_lightning.callbacks.options import check_options
from bet_lightning.callbacks.recorder import Recorder
from bet_lightning.checkpoints import METHOD_STATE
from bet_lightning.data import DataSplit
from bet_lightning.methods import BET
from bet_lightning.methods.base import Method
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.tasks import Round, Rounds
from bet_lightning.modules import RecommenderModule
from bet_lightning.runs.records import RunRecord
from bet_lightning.training.loop import epoch_seed
from bet_lightning.training.trial import Trial

FORMAT = 4  # of what a checkpoint has of a run: to be raised when that changes
_SECONDS_BETWEEN = 60.0  # saves while trainings need no epochs


class TableSearch(pl.Callback):
    """Fits the embedding table into a budget: runs a method's trainings as ordinary Lightning epochs.

    Args:
        budget: The memory budget (default: a tenth of the full table's parameters), or several: one run serves them
            all, and names of results then end in theirs, as ``bet@0.05``. Short forms: ``10%``, ``2MB``, ``5000``.
        method: What fits the table (default: BET).
        seed: Seed of initial weights, triplets and search (default: the run's ``seed_everything``).

    Attributes:
        record: What the run says of itself so far; None before it begins.

    Raises:
        ValueError: If a budget is no budget, or the seed is negative.
    """

    def __init__(
        self,
        budget: list[BudgetLike] | BudgetLike | None = None,
        method: Method | None = None,
        seed: int | None = None,
    ) -> None:
        self.budgets = parse_budgets(budget)
        self.method = method or BET()
        if seed is not None and seed < 0:
            raise ValueError(f"search.seed must not be negative, got {seed}")
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.round: Round | None = None
        self.trial: Trial | None = None
        self.recorder: Recorder | None = None
        self._problem: FitProblem | None = None
        self._rounds: Rounds | None = None
        self._restored: dict[str, Any] = {}
        self._begins_again = True  # whether the first round begins, rather than goes on from a checkpoint
        self._limit_val_batches: int | float | None = None
        self._epoch_start = time.monotonic()
        self._saved = time.monotonic()

    @property
    def record(self) -> RunRecord | None:
        """What the run says of itself so far."""
        return self.recorder.record if self.recorder else None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what would cut the search short; let the method say how many epochs there are, and validate alone."""
        if stage == "fit":
            module_of(pl_module)
            check_options(trainer)
            trainer.fit_loop.max_epochs = -1
            self._limit_val_batches = trainer.limit_val_batches
            trainer.limit_val_batches = 0

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the trainer validate again."""
        if stage == "fit" and self._limit_val_batches is not None:
            trainer.limit_val_batches = self._limit_val_batches
            self._limit_val_batches = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Resolve the budgets on the data; ask the method for its first round, or for the one that was interrupted."""
        module, data = module_of(pl_module), dataset_of(trainer)
        network = module.network
        budgets = resolve_by_form(self.budgets, self.method, network, data)
        self.recorder = Recorder(trainer, network, data, each_once(budgets), type(self.method).__name__, self.seed)
        state = self._restored.get(METHOD_STATE, {})
        if self._restored:
            self._check_same_run(data)
            self.recorder.go_on(RunRecord.from_dict(self._restored["record"]))
        self._problem = FitProblem(trainer, module, budgets, seed=self.seed, journal=self.recorder, state=state)
        if not self._restored:
            frequencies = (PopularityProfile.from_frequency(side) for side in self._problem.frequencies)
            self.recorder.begin(*frequencies)
        self._rounds = self.method.run(self._problem)
        self._take_round(trainer, next(self._rounds, None))
        if self._restored and self.round and self.trial:
            key, progress, shared = (self._restored[name] for name in ("round", "trial", "shared"))
            if self._is_shared(trainer) and shared and key == self.round.key:
                self.trial.load_state_dict(progress)
                self.trial.store(network)
                self._set_up_training(trainer, module)
                self._begins_again = False
        if self._begins_again and self.trial:
            self._begin(trainer, module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let ranks share or not what the first epochs need; begin again what a checkpoint does not have."""
        module = module_of(pl_module)
        devices.prepare(trainer)
        if self.trial is None:
            trainer.should_stop = True
            return
        devices.share_data(trainer, module, self._is_shared(trainer))
        if self._begins_again and self._restored:  # the checkpoint's optimiser is of another training
            self._begin(trainer, module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate what needs no training, and choose the epoch's triplets."""
        module = module_of(pl_module)
        while self.trial and not trainer.should_stop and devices.any_rank(trainer, self.trial.has_untrained_result):
            if self.trial.has_untrained_result:
                self._validate_untrained(trainer, module)
            self._finish_round(trainer, module)
            self._save_between(trainer)
        if self.trial is None:
            return
        # every training sees the same triplets and drops the same entries, so that only its table sets it apart
        seed = epoch_seed(self.seed, self.trial.epoch)
        trainer.train_dataloader.sampler.set_epoch(seed)  # type: ignore[union-attr]
        torch.manual_seed(seed)
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate and count the epoch; at a training's end hand its outcome to the method and begin the next."""
        module, trial = module_of(pl_module), self.trial
        if trial is None:
            return
        if not trial.finished:  # a rank that is done trains on, in step with the others
            self._check_loss(trainer, trial)
            metrics = None
            if trial.validates_next and not trial.failed:
                metrics = self._evaluate(trainer, module, trial.task.user_share)
                module.log_dict({f"val/{name}": value for name, value in metrics.items()}, sync_dist=False)
            if not trial.failed:
                trial.end_epoch(module.network, metrics)
            trial.seconds += time.monotonic() - self._epoch_start
            if metrics is not None and self.recorder:
                self.recorder.validated(trial.task, trial.epoch, metrics)
        self._finish_round(trainer, module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table with validation metrics, draw the plots, and say how to test."""
        if self.recorder:
            self.recorder.end()

    def _take_round(self, trainer: pl.Trainer, following: Round | None) -> None:
        """Make this rank's trial of a round."""
        self.round = following
        self.trial = None
        if following is None:
            return
        task = following.tasks[min(trainer.global_rank, len(following.tasks) - 1)]
        if trainer.datamodule.train_on_valid:  # type: ignore[attr-defined]  # the best epoch by it would mean nothing
            task = replace(task, epochs=replace(task.epochs, eval_every_n_epochs=max(1, task.epochs.max_epochs)))
        self.trial = Trial(task)

    def _is_shared(self, trainer: pl.Trainer) -> bool:
        """Whether all ranks train the same, each on its share of the data, rather than each its own."""
        return trainer.world_size == 1 or (self.round is not None and self.round.shared)

    def _begin(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Give the module the weights, tables, learning rate and optimiser that the trial begins with."""
        assert self.trial
        begin = time.monotonic()
        self.trial.begin(module.network, self.seed)
        self._set_up_training(trainer, module)
        self.trial.seconds = time.monotonic() - begin

    def _set_up_training(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Give the module, which has a trial's weights and tables, the learning rate and a fresh optimiser."""
        assert self.trial
        if self._is_shared(trainer):
            share_columns(trainer, module.network)
            devices.wrap_again(trainer, module.network)
        module.schedule = self.trial.task.schedule or module.recommender.schedule
        module.recommender.auxiliary_loss = self.trial.task.auxiliary_loss
        trainer.strategy.setup_optimizers(trainer)

    def _finish_round(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Once the trainings of all ranks are over, tell the method what came of them and begin the next."""
        trial, following = self.trial, self.round
        if trial is None or following is None or self._rounds is None:
            return
        if devices.any_rank(trainer, not trial.finished):
            return
        mine = trial.close(module.network)
        outcomes = [mine]
        if not self._is_shared(trainer):
            outcomes = devices.exchange(trainer, following, mine, module.metrics.names)
        for task, outcome in zip(following.tasks, outcomes, strict=True):
            if not task.measures_only and self.recorder:
                hold(module, task, outcome)
                self.recorder.finished(task, outcome)
        try:
            self._take_round(trainer, self._rounds.send(outcomes))
        except StopIteration:
            self._take_round(trainer, None)
            trainer.should_stop = True
            return
        self._begin(trainer, module)
        devices.share_data(trainer, module, self._is_shared(trainer))

    def _validate_untrained(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Validate a table as it is."""
        assert self.trial and self.recorder
        begin, task = time.monotonic(), self.trial.task
        metrics = self._evaluate(trainer, module, task.user_share)
        self.trial.seconds += time.monotonic() - begin
        self.trial.record(module.network, metrics)
        self.recorder.validated(task, 0, metrics)

    def _evaluate(self, trainer: pl.Trainer, module: RecommenderModule, user_share: float) -> dict[str, float]:
        """Validation metrics of the table as it is; all ranks together where they share their data."""
        with trainer.precision_plugin.val_step_context():
            return module.recommender.evaluate(validation_users(trainer, user_share))

    def _check_loss(self, trainer: pl.Trainer, trial: Trial) -> None:
        """End a trial whose loss of the epoch is no number: one that only measures without a result, else the run."""
        loss = float(trainer.callback_metrics.get("train/loss", 0.0))
        diverged = not math.isfinite(loss)
        if self._is_shared(trainer):
            diverged = devices.any_rank(trainer, diverged)
        if diverged and not trial.task.measures_only:
            option = "model.schedule.lr" if trial.task.schedule is None else "search.method.warm_schedule.lr"
            raise ValueError(
                f"{trial.task.label} diverged: its loss is {loss} in epoch {trial.epoch + 1} at the learning rate of "
                f"{option}; lower it"
            )
        if diverged:
            trial.fail()

    def _save_between(self, trainer: pl.Trainer) -> None:
        """Save the run where no epoch ends for long: after a minute, or when the process is told to end."""
        now, callback = time.monotonic(), trainer.checkpoint_callback
        ends = devices.any_rank(trainer, trainer.received_sigterm)
        if not ends and not devices.any_rank(trainer, now - self._saved > _SECONDS_BETWEEN):
            return
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            trainer.save_checkpoint(Path(callback.dirpath) / "last.ckpt", weights_only=False)  # all, not weights alone
        if ends:
            raise SIGTERMException
        self._saved = now

    def _check_same_run(self, data: DataSplit) -> None:
        """Refuse to go on with a run under other conditions."""
        assert self.recorder
        if self._restored.get("format") != FORMAT:
            raise ValueError("--ckpt_path: a run of another version of bet_lightning, which this one cannot go on with")
        before, now = RunRecord.from_dict(self._restored["record"]), self.recorder.record
        caps = [[budget.params for budget in record.budgets] for record in (before, now)]
        if caps[0] != caps[1]:
            raise ValueError(f"--ckpt_path: a run with budgets of {caps[0]} parameters, not {caps[1]}")
        if before.dataset["hash"] != data.hash:
            raise ValueError(f"--ckpt_path: a run on other data or another split, hash {before.dataset['hash']}")
        if before.method != now.method:
            raise ValueError(f"--ckpt_path: a run of the method {before.method}, not {now.method}")

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state, the trial's progress and the record, as tensors and plain values."""
        if self._problem is None or self.recorder is None:
            return {}
        return {
            "format": FORMAT,
            "record": self.recorder.record.as_dict(),
            METHOD_STATE: self._problem.state,
            "round": self.round.key if self.round else "",
            "trial": self.trial.state_dict() if self.trial else {},
            "shared": self.round is None or self.round.shared or self._problem.num_ranks == 1,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until the data is known."""
        self._restored = state_dict
