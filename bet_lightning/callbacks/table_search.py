"""BET as a Lightning callback: it decides, between epochs, what the next epochs are for."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from bet_lightning.baselines import SizeRule, UniformSizes
from bet_lightning.budget import Budget
from bet_lightning.callbacks import run_results
from bet_lightning.callbacks.earlier_run import EarlierSearch, continue_search, load_full_table
from bet_lightning.callbacks.first_search import first_search
from bet_lightning.callbacks.new_plan import Family, new_plan, new_search, profiles, resolve_caps
from bet_lightning.callbacks.rounds import any_rank, exchange, prepare_ranks, share_data
from bet_lightning.callbacks.settings import (
    PLAN_SETTINGS,
    SEARCH_SETTINGS,
    check_names,
    complete_settings,
    settings_to_serve,
)
from bet_lightning.callbacks.trials import (
    Starts,
    Storage,
    begin_trial,
    dataset_of,
    evaluate_share,
    recommender,
    record_epoch,
    set_up_training,
    validate_untrained,
)
from bet_lightning.modules import LRSchedule, RecommenderModule
from bet_lightning.results import Summary, new_summary
from bet_lightning.search import BET, Realization, RetrainInit, RetrainParallel, Selection, TrainingPlan

Basis = Literal["principal", "trained"]


class TableSearch(pl.Callback):
    """Pretrain, search, retrain: every training of BET is a run of ordinary Lightning epochs.

    The full table is pre-trained until patience runs out, then its columns are turned so that the first carry most.
    Then, ``num_iterations`` times, an action is chosen, the pre-trained backbone masked to its sizes, trained for
    ``probe_epochs`` and validated; its quality relative to the full table's is the action's fitness. The best
    ``num_tuned`` are probed again for ``tune_epochs``. The best ``num_retrain`` actions are retrained and the best on
    validation is the result ``bet``; the ``rivals`` are trained likewise. With a ``rule``, only its sizes are.

    Args:
        budget: The memory budget, or several: one pretraining and one search serve them all. Results for the first
            have plain names, those for another end in the share that it keeps, as ``bet@0.05``.
        family: Which actions there are: the ``paper``'s, with sizes from distributions handed out by popularity;
            ``spectral`` ones, with sizes from the energy of the pre-trained table; ``uniform`` ones, with one size
            for users and one for items; ``mixed`` takes turns between spectral ones and the paper's.
        basis: ``principal`` turns the pre-trained table's columns so that the first carry most of the scores, which
            stay what they are; ``trained`` leaves them.
        pretrained: Checkpoint of an earlier run to go on from instead of pretraining: ``full.ckpt`` is its full
            table; with ``last.ckpt`` its search goes on too, for these budgets.
        num_iterations: Probes, T.
        num_random: How many of them, the first, are picked at random.
        num_candidates: Candidates an iteration, m.
        num_updates: Predictor updates an iteration, N.
        selection: Which candidate is probed: the paper's ``mixed``, ``greedy``, ``nearest`` or ``random``.
        realization: How the paper's candidates follow from a distribution: ``quantile`` or ``draws``.
        probe_epochs: Epochs of a probe (paper: 10 or 15); 0 ranks the masked table without training. Default: 1 for the
            paper's family, else 0.
        probe_user_share: Share of the validation users that a probe is validated on, rounded up to whole batches
            (paper: 1).
        refit_steps: Steps by which a cut table's kept parameters make up for the others, before probes and warm
            retraining (LightGCN: conjugate gradients towards the full one's final vectors). Default: paper 0, else 5.
        probe_schedule: Learning rate of what starts from pre-trained weights.
        num_tuned: Actions of high fitness, not all alike, that are probed again for longer.
        tune_epochs: Epochs of these probes.
        num_retrain: Actions retrained.
        retrain_init: Weights that retraining starts from: ``fresh`` as in the paper, the masked pre-trained ones
            (``warm``), or ``both``, of which the better on validation is the result.
        retrain_parallel: What several devices share in retraining: the ``data`` of one action after another, or the
            ``actions``. Probes are always shared by action.
        storage: What retrained tables are held in: full and ``masked``, or ``packed``, where values, gradients and
            optimiser state take no more than the budget. Both train alike; results are saved masked.
        max_epochs: Epochs at most of pretraining and of each retraining; 0 only cuts a ``pretrained`` table.
        eval_every_n_epochs: Epochs between validations in pretraining and retraining.
        patience: Validations without a gain that end them.
        min_size: Smallest size of a row: 1, or 0 for backbones that rebuild rows from their neighbours.
        rivals: Size rules trained for comparison (default: uniform sizes).
        rule: Train the sizes of this rule instead of searching.
        seed: Seed of initial weights, triplets and search (default: the run's ``seed_everything``).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        budget: Budget | Sequence[Budget],
        family: Family = "paper",
        basis: Basis = "principal",
        pretrained: str | None = None,
        num_iterations: int = 50,
        num_random: int = 0,
        num_candidates: int = 100,
        num_updates: int = 2,
        selection: Selection = "mixed",
        realization: Realization = "quantile",
        probe_epochs: int | None = None,
        probe_user_share: float = 0.3,
        refit_steps: int | None = None,
        probe_schedule: LRSchedule = LRSchedule(decay=0.98),  # noqa: B008 (frozen)
        num_tuned: int = 0,
        tune_epochs: int = 1,
        num_retrain: int = 5,
        retrain_init: RetrainInit = "fresh",
        retrain_parallel: RetrainParallel = "data",
        storage: Storage = "masked",
        max_epochs: int = 500,
        eval_every_n_epochs: int = 1,
        patience: int = 5,
        min_size: int = 1,
        rivals: Sequence[SizeRule] | None = None,
        rule: SizeRule | None = None,
        seed: int | None = None,
    ) -> None:
        settings = complete_settings(dict(locals()))
        self.rules = [rule] if rule else [UniformSizes()] if rivals is None else list(rivals)
        check_names([each.name for each in self.rules])
        self.budgets, self.min_size = [budget] if isinstance(budget, Budget) else list(budget), min_size
        self.probe_schedule, self.probe_user_share = probe_schedule, probe_user_share
        self.basis, self.pretrained, self.refit_steps = basis, pretrained, settings["refit_steps"]
        self.storage: Storage = storage
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.plan_settings = {name: settings[name] for name in PLAN_SETTINGS} | {"rules_only": rule is not None}
        self.search_settings = {name: settings[name] for name in SEARCH_SETTINGS}
        self.search_settings |= {"seed": self.seed, "even_too": retrain_init != "warm"}
        self.plan: TrainingPlan | None = None
        self.summary: Summary = {}
        self._restored: dict[str, Any] = {}
        self._earlier: EarlierSearch | None = None
        self._gains: Tensor | None = None
        self._anew = False  # whether a restored round begins again
        self._epoch_start = self._saved = time.monotonic()
        self._probe_metrics: dict[str, float] = {}

    def serve(self, budgets: Sequence[Budget], run: str, *, num_probes: int, num_epochs: int) -> None:
        """Prepare for other budgets of a finished run, whose pre-trained table and search are gone on from.

        Args:
            budgets: The budgets.
            run: The run's ``last.ckpt``.
            num_probes: Probes a budget.
            num_epochs: Epochs of warm retraining; 0 only cuts the pre-trained table.
        """
        self.budgets, self.pretrained, self.rules = list(budgets), run, []
        plan, search = settings_to_serve(num_probes * len(self.budgets), num_epochs)
        self.plan_settings |= plan
        self.search_settings |= search

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Resolve the budget on the data; start the first training or continue a restored one."""
        module, data = recommender(pl_module), dataset_of(trainer)
        backbone, width = module.network, module.network.row_width
        if self.min_size == 0 and not backbone.rebuilds_rows:
            raise ValueError(f"TableSearch.min_size 0 needs a graph backbone, got {type(backbone).__name__}")
        self.caps = resolve_caps(self.budgets, backbone, self.min_size)
        self.search_settings |= {"caps": list(self.caps), "width": width, "min_size": self.min_size}
        schedules = {"fresh": module.schedule, "warm": self.probe_schedule}
        self.starts = Starts(schedules, self.refit_steps, self.seed, self.storage)
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        if trainer.datamodule.train_on_valid:  # type: ignore[attr-defined]  # the best epoch by it would mean nothing
            self.plan_settings["eval_every_n_epochs"] = max(1, self.plan_settings["max_epochs"])
        self.plan = new_plan(
            data, self.rules, caps=self.caps, width=width, min_size=self.min_size, settings=self.plan_settings | ranks
        )
        if self._restored:
            run_results.check_same_run(self._restored, data, list(self.caps), self.storage)
            state, self.summary, self._gains = (self._restored[name] for name in ("plan", "summary", "gains"))
            search = new_search(data, self._gains, **self.search_settings) if state["search"] else None
            self._anew = self.plan.load_state_dict(state, search)
            set_up_training(trainer, module, self.plan, self.starts)
            return
        dtypes = {cap: budget.dtype for cap, budget in zip(self.caps, self.budgets, strict=True)}
        self.summary = new_summary(backbone, data, dtypes, self.min_size, self.seed)
        trained = (BET, *(rule.name for rule in self.rules))
        names = [f"{name}{suffix}" for suffix in self.caps.values() for name in trained]
        run_results.begin_run(trainer, self.plan.training_names(names), *profiles(data))
        begin_trial(trainer, module, self.plan, self.starts)
        if self.pretrained and self.plan.trial.phase == "pretrain":
            self._earlier = load_full_table(module.network, self.pretrained)
            self.plan.trial.max_epochs = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let ranks share or not what the first epochs need; begin again what a checkpoint does not have."""
        prepare_ranks(trainer)
        share_data(trainer, module := recommender(pl_module), self._plan.is_shared)
        if trainer.fit_loop.restarted_on_epoch_start:  # by ``save_between``: no batch of the epoch has been trained
            trainer.fit_loop.epoch_loop.restarting = False
        if self._anew:
            begin_trial(trainer, module, self._plan, self.starts)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate what needs no training; choose the epoch's triplets and whether it ends with a validation."""
        module, plan = recommender(pl_module), self._plan
        while any_rank(trainer, plan.trial.has_untrained_result) and not trainer.should_stop:
            if plan.trial.has_untrained_result:
                validate_untrained(trainer, module, plan, self.probe_user_share)
            self._finish_round(trainer, module)
            self._saved = run_results.save_between(trainer, self._saved)
        trial = plan.trial
        # every trial sees the same triplets and drops the same entries, so that only its sizes set it apart from others
        seed = self.seed * 100_003 + trial.epoch
        trainer.train_dataloader.sampler.set_epoch(seed)  # type: ignore[union-attr]
        torch.manual_seed(seed)
        trainer.val_dataloaders.share = self.probe_user_share if trial.is_probe else 1.0  # type: ignore[union-attr]
        # a rank that is done trains on, in step with the others, and is not validated
        trainer.check_val_every_n_epoch = 1 if trial.validates_next and not trial.finished else sys.maxsize
        self._epoch_start = time.monotonic()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the metrics on the users that probes are validated on, what fitness compares with."""
        if batch_idx + 1 == trainer.val_dataloaders.num_batches(self.probe_user_share):  # type: ignore[union-attr]
            found = recommender(pl_module).metrics.compute()
            self._probe_metrics = {name: float(value) for name, value in found.items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the epoch; at a training's end keep its result and begin the next."""
        module, plan = recommender(pl_module), self._plan
        if trainer.should_stop and plan.trial.max_epochs == 0:  # the last one needed no training
            return
        if not plan.trial.finished:
            plan.trial.seconds += time.monotonic() - self._epoch_start
            record_epoch(trainer, module, plan, self._probe_metrics)
        self._finish_round(trainer, module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table with validation metrics, draw the plots, and say how to test."""
        run_results.end_run(trainer, self.summary)

    def _finish_round(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Once the trainings of all ranks are over, keep what they gave and begin the next."""
        plan = self._plan
        if any_rank(trainer, not plan.trial.finished):
            return
        if plan.trial.phase == "pretrain":
            self._begin_search(trainer, module)
        if not plan.is_shared:
            exchange(trainer, plan, module.metrics.names)
        run_results.take_round(trainer, self.summary, plan, module.network)
        if plan.advance() is None:
            trainer.should_stop = True
        else:
            share_data(trainer, module, plan.is_shared)
            begin_trial(trainer, module, plan, self.starts)

    def _begin_search(self, trainer: pl.Trainer, module: RecommenderModule) -> None:
        """Turn the pre-trained table's columns and search it, or go on from an earlier search."""
        settings, plan, begin = self.search_settings, self._plan, time.monotonic()
        module.network.load_state_dict(plan.trial.best_weights)
        if self.basis == "principal":
            module.network.to_principal_basis()
        share_data(trainer, module, False)
        if trainer.world_size > 1:  # as probes are validated, not on what each rank has of these users
            plan.trial.best_probe_metrics = evaluate_share(trainer, module, self.probe_user_share)
        if self._earlier and self.pretrained:
            search, self._gains = continue_search(self._earlier, self.pretrained, dataset_of(trainer), settings)
        else:
            steps = self.refit_steps if plan.starts_warm else 0
            search, self._gains = first_search(trainer, module, plan.orders, steps, self.probe_user_share, settings)
        plan.trial.keep_weights(module.network.state_dict())
        plan.begin_search(search, time.monotonic() - begin)

    @property
    def _plan(self) -> TrainingPlan:
        if self.plan is None:
            raise RuntimeError("the plan is made when fit starts")
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        """Plan, summary and gains, as tensors and plain values."""
        state = {"format": run_results.FORMAT, "summary": self.summary, "gains": self._gains, "storage": self.storage}
        return state | {"plan": self.plan.state_dict()} if self.plan else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until the data is known."""
        self._restored = state_dict
