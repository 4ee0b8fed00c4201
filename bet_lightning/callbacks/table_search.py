"""BET as a Lightning callback: it decides, between epochs, what the next epochs are for."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from bet_lightning.baselines import SizeRule, UniformSizes, write_sizes
from bet_lightning.budget import Budget
from bet_lightning.callbacks.new_plan import new_plan, profiles
from bet_lightning.data import DataSplit
from bet_lightning.modules import LRSchedule, RecommenderModule
from bet_lightning.report import define_axes, print_results, report_run
from bet_lightning.results import Summary, new_result, new_summary, write_actions, write_json, write_popularity
from bet_lightning.search import Realization, Selection, TrainingPlan, Trial

log = logging.getLogger(__name__)


class TableSearch(pl.Callback):
    """Pretrain, search, retrain: every training of BET is a run of ordinary Lightning epochs.

    The full table is pre-trained until patience runs out. Then, ``num_iterations`` times, an action is chosen, the
    pre-trained backbone masked to its sizes, trained for ``probe_epochs`` and validated; its quality relative to the
    full table's is the action's fitness. The best ``num_retrain`` actions are trained from scratch and the best on
    validation is the result ``bet``; the ``rivals`` are trained likewise. With a ``rule``, only its sizes are.

    Args:
        budget: The memory budget.
        num_iterations: Probes, T.
        num_candidates: Candidates an iteration, m.
        num_updates: Predictor updates an iteration, N.
        selection: Which candidate is probed: the paper's ``mixed``, ``greedy``, ``nearest`` or ``random``.
        realization: How candidates follow from a distribution: ``quantile`` or ``draws``.
        probe_epochs: Epochs of a probe (paper: 10 or 15).
        probe_user_share: Share of the validation users that a probe is validated on, rounded up to whole batches
            (paper: 1).
        probe_schedule: Learning rate of a probe.
        num_retrain: Actions trained from scratch.
        max_epochs: Epochs at most of pretraining and of each retraining.
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
        budget: Budget,
        num_iterations: int = 50,
        num_candidates: int = 100,
        num_updates: int = 2,
        selection: Selection = "mixed",
        realization: Realization = "quantile",
        probe_epochs: int = 1,
        probe_user_share: float = 0.3,
        probe_schedule: LRSchedule = LRSchedule(decay=0.98),  # noqa: B008 (frozen)
        num_retrain: int = 5,
        max_epochs: int = 500,
        eval_every_n_epochs: int = 1,
        patience: int = 5,
        min_size: int = 1,
        rivals: Sequence[SizeRule] | None = None,
        rule: SizeRule | None = None,
        seed: int | None = None,
    ) -> None:
        smallest = {"num_iterations": 0, "num_updates": 0, "min_size": 0}
        for name in (
            *("num_iterations", "num_candidates", "num_updates", "probe_epochs", "num_retrain"),
            *("max_epochs", "eval_every_n_epochs", "patience", "min_size"),
        ):
            value, low = locals()[name], smallest.get(name, 1)
            if value < low:
                raise ValueError(f"TableSearch.{name} must be at least {low}, got {value}")
        if not 0 < probe_user_share <= 1:
            raise ValueError(f"TableSearch.probe_user_share must be in (0, 1], got {probe_user_share}")
        if min_size > 1:
            raise ValueError(f"TableSearch.min_size must be 0 or 1, got {min_size}")
        self.rules = [rule] if rule else [UniformSizes()] if rivals is None else list(rivals)
        names = [each.name for each in self.rules]
        if len(set(names)) < len(names) or {"full", "bet", "best", "last"} & set(names):
            raise ValueError(f"TableSearch.rivals need different names, not full, bet, best or last, got {names}")
        self.budget, self.min_size, self.probe_schedule = budget, min_size, probe_schedule
        self.realization, self.probe_user_share = realization, probe_user_share
        self.plan_settings: dict[str, Any] = {
            "num_iterations": num_iterations,
            "probe_epochs": probe_epochs,
            "num_retrain": num_retrain,
            "max_epochs": max_epochs,
            "eval_every": eval_every_n_epochs,
            "patience": patience,
            "rules_only": rule is not None,
        }
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.search_settings: dict[str, Any] = {
            "num_candidates": num_candidates,
            "num_updates": num_updates,
            "selection": selection,
            "seed": self.seed,
        }
        self.plan: TrainingPlan | None = None
        self.summary: Summary = {}
        self._restored: dict[str, Any] = {}
        self._epoch_start = 0.0
        self._probe_metrics: dict[str, float] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Resolve the budget on the data; start the first training or continue a restored one."""
        module, data = _recommender(pl_module), _dataset(trainer)
        backbone = module.network
        if self.min_size == 0 and not backbone.rebuilds_rows:
            raise ValueError(f"TableSearch.min_size 0 needs a graph backbone, got {type(backbone).__name__}")
        width = backbone.row_width
        self.cap = self.budget.cap(backbone.num_rows, width, min_size=self.min_size)
        self.folder = Path(trainer.default_root_dir)
        self.base_schedule = module.schedule
        self.plan = new_plan(
            data,
            self.rules,
            cap=self.cap,
            width=width,
            min_size=self.min_size,
            realization=self.realization,
            search=self.search_settings,
            plan=self.plan_settings,
        )
        if self._restored:
            self.plan.load_state_dict(self._restored["plan"])
            self.summary = self._restored["summary"]
            module.schedule = self._schedule(self.plan.trial)
            return
        self.summary = new_summary(backbone, data, self.cap, self.seed)
        if trainer.is_global_zero:
            define_axes(trainer.loggers, ["bet", *(rule.name for rule in self.rules)])
            write_popularity(self.folder, *profiles(data))
        self._begin(trainer, module, self.plan.trial)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the epoch's triplets and whether it ends with a validation."""
        trial = self._plan.trial
        # every trial sees the same triplets in the same order, so that only its sizes set it apart from the others
        trainer.train_dataloader.sampler.set_epoch(self.seed * 100_003 + trial.epoch)  # type: ignore[union-attr]
        trainer.val_dataloaders.share = self.probe_user_share if trial.phase == "probe" else 1.0  # type: ignore[union-attr]
        trainer.check_val_every_n_epoch = 1 if trial.validates_next else sys.maxsize
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
            found = _recommender(pl_module).metrics.compute()
            self._probe_metrics = {name: float(value) for name, value in found.items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the epoch; at a training's end keep its result and begin the next."""
        module, plan = _recommender(pl_module), self._plan
        trial = plan.trial
        validated = trial.validates_next
        trial.epoch += 1
        trial.seconds += time.monotonic() - self._epoch_start
        if validated:
            logged = {k: float(v) for k, v in trainer.callback_metrics.items()}
            metrics = {k.removeprefix("val/"): v for k, v in logged.items() if k.startswith("val/")}
            trial.record(metrics, self._probe_metrics, module.network.state_dict())
            if trial.phase != "probe":
                key = trial.phase if trial.phase == "pretrain" else f"retrain/{trial.name}"
                self._log(trainer, {f"{key}/epoch": trial.epoch, **{f"{key}/{k}": v for k, v in metrics.items()}})
        if not trial.finished:
            return
        if trial.phase != "probe":
            self._keep_result(trainer, module, trial)
        following = plan.advance()
        if trial.phase == "probe":
            self._report_probe(trainer)
        if following is None:
            trainer.should_stop = True
        else:
            self._begin(trainer, module, following)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table with validation metrics, draw the plots, and say how to test."""
        if self.summary["results"] and trainer.is_global_zero:
            report_run(self.folder, trainer.loggers)
            print_results(self.summary, "valid")
            log.info("test metrics: python -m bet_lightning test --config %s", self.folder / "config.yaml")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say how to go on after an interruption."""
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if trainer.is_global_zero and last.is_file() and not isinstance(exception, ValueError):
            config = last.parent.parent / "config.yaml"
            log.info("continue: python -m bet_lightning fit --config %s --ckpt_path %s", config, last)

    def status(self) -> str:
        """What is going on, in a few words."""
        if self.plan is None:
            return ""
        trial = self.plan.trial
        if trial.phase == "probe":
            what = f"probe {len(self.plan.records) + 1}/{self.plan.num_iterations}"
        else:
            what = "pretrain" if trial.phase == "pretrain" else f"retrain {trial.name}"
        return f"{what}, epoch {trial.epoch + 1}"

    def _begin(self, trainer: pl.Trainer, module: RecommenderModule, trial: Trial) -> None:
        """Give the module the weights, sizes, learning rate and a fresh optimiser for a training."""
        if trial.phase == "probe":
            module.network.load_state_dict(self._plan.pretrained)
        else:
            module.network.reset_parameters(torch.Generator().manual_seed(self.seed))
        full = trial.phase == "pretrain"
        module.set_sizes(trial.sizes, cap=int(trial.sizes.sum()) if full else self.cap)
        module.schedule = self._schedule(trial)
        trainer.strategy.setup_optimizers(trainer)

    def _schedule(self, trial: Trial) -> LRSchedule:
        return self.probe_schedule if trial.phase == "probe" else self.base_schedule

    def _keep_result(self, trainer: pl.Trainer, module: RecommenderModule, trial: Trial) -> None:
        """Save a finished pretraining or retraining, unless a better one of the same name is kept."""
        best = ", ".join(f"{name} {value:.4f}" for name, value in trial.best_metrics.items())
        log.info("%s %s: best at epoch %d of %d: %s", trial.phase, trial.name, trial.best_epoch, trial.epoch, best)
        if not self._plan.wins(trial):
            return
        module.network.load_state_dict(trial.best_weights)
        stem = "best" if trial.name == "bet" else trial.name
        trainer.save_checkpoint(self.folder / "checkpoints" / f"{stem}.ckpt", weights_only=True)
        result = new_result(trial, f"checkpoints/{stem}.ckpt", max_size=module.network.row_width)
        kept = [r for r in self.summary["results"] if r["name"] != trial.name]
        self.summary["results"] = [*kept, result]
        if trainer.is_global_zero:
            write_sizes(self.folder / "sizes" / f"{trial.name}.txt", trial.sizes)
            write_json(self.folder / "summary.json", self.summary)

    def _report_probe(self, trainer: pl.Trainer) -> None:
        plan = self._plan
        for record in plan.records:
            record.setdefault("rank", trainer.global_rank)
        record = plan.records[-1]
        seconds = sum(each["seconds"] for each in plan.records)
        self.summary["search"] = {
            "probes": len(plan.records),
            "best_fitness": plan.best_fitness,
            "seconds": seconds,
        }
        if trainer.is_global_zero:
            write_actions(self.folder, plan.records)
            write_json(self.folder / "summary.json", self.summary)
        shown = ("iteration", "fitness", "predicted_fitness", "user_share", "seconds")
        self._log(
            trainer,
            {f"probe/{key}": record[key] for key in shown} | {"probe/best_fitness": plan.best_fitness},
        )

    def _log(self, trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)

    @property
    def _plan(self) -> TrainingPlan:
        if self.plan is None:
            raise RuntimeError("the plan is made when fit starts")
        return self.plan

    def state_dict(self) -> dict[str, Any]:
        """Plan and summary, as tensors and plain values."""
        return {"plan": self.plan.state_dict(), "summary": self.summary} if self.plan else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until the data is known."""
        self._restored = state_dict


def _recommender(module: pl.LightningModule) -> RecommenderModule:
    if not isinstance(module, RecommenderModule):
        raise TypeError(f"TableSearch trains a RecommenderModule, got {type(module).__name__}")
    return module


def _dataset(trainer: pl.Trainer) -> DataSplit:
    dataset: DataSplit = trainer.datamodule.dataset  # type: ignore[attr-defined]
    return dataset
