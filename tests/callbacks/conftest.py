"""A tiny set, a method that asks for what a test wants, and both ways to run it: a Trainer's, and a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from bet_lightning.backbones import Backbone, LightGCN
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.callbacks import TableSearch
from bet_lightning.callbacks.run_files import LastCheckpoint
from bet_lightning.data import InteractionDataModule, RankingBatch
from bet_lightning.methods.base import Method, Problem, run_method
from bet_lightning.methods.tasks import Outcome, Round, Task
from bet_lightning.modules import RecommenderModule
from bet_lightning.schedule import LRSchedule
from bet_lightning.training import train_task

BUDGET = Budget(keep_ratio=0.25)
SEED = 3
Rounds = Callable[[Problem, Sequence[Outcome]], Round | None]


class Scripted(Method):
    """Asks for rounds one after another, and keeps how many are over.

    Args:
        rounds: Return the next round from the problem and all outcomes so far; None where there is none.

    Attributes:
        outcomes: What it was told.
    """

    def __init__(self, *rounds: Rounds) -> None:
        self.rounds = rounds
        self.outcomes: list[Outcome] = []

    def run(self, problem: Problem) -> Generator[Round, Sequence[Outcome], None]:
        """Ask for what is left: the outcomes before a resumption are the state's."""
        kept = problem.state.setdefault("kept", [])
        self.outcomes = [Outcome(**each) for each in kept]
        for rounds in self.rounds[problem.state.setdefault("done", 0) :]:
            if (following := rounds(problem, self.outcomes)) is not None:
                outcomes = yield following
                self.outcomes += outcomes
                kept += [vars(outcome) for outcome in outcomes]
            problem.state["done"] += 1


class Interrupt(pl.Callback):
    """Breaks a run off at the beginning of an epoch.

    Args:
        epoch: Number of the epoch, from 0.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Break off."""
        if trainer.current_epoch == self.epoch:
            raise InterruptedError


def make_data(**settings: Any) -> InteractionDataModule:
    """A synthetic set of 80 users and 60 items."""
    shape = {"synthetic_users": 80, "synthetic_items": 60, "synthetic_interactions": 1_100}
    return InteractionDataModule(**{"batch_size": 256, "eval_batch_size": 16, **shape, **settings})


def make_module(backbone: Callable[..., Backbone] = LightGCN, schedule: LRSchedule | None = None) -> RecommenderModule:
    """A module of 8 columns."""
    return RecommenderModule(lambda edges: backbone(edges, max_size=8), schedule=schedule)


def make_trainer(folder: Path, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """A stock Trainer on the CPU that says nothing and saves its last epoch in ``checkpoints/last.ckpt``."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    saves = [LastCheckpoint()] if settings.get("enable_checkpointing", True) else []
    settings = {"max_epochs": -1, **quiet, **settings}
    return pl.Trainer(default_root_dir=str(folder), callbacks=[*callbacks, *saves], **settings)


def fit(
    folder: Path,
    method: Method,
    *callbacks: pl.Callback,
    module: RecommenderModule | None = None,
    data: InteractionDataModule | None = None,
    resume: bool = False,
    budget: Any = BUDGET,
    **settings: Any,
) -> TableSearch:
    """Run a method as the callback does and return the callback."""
    search = TableSearch(budget, method, SEED)
    trainer = make_trainer(folder, search, *callbacks, **settings)
    last = str(folder / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(module or make_module(), datamodule=data or make_data(), ckpt_path=last)
    return search


def run_plainly(
    method: Method, module: RecommenderModule | None = None, data: InteractionDataModule | None = None
) -> tuple[list[Outcome], dict[str, Outcome]]:
    """Run a method in a plain loop; all outcomes, and the results by name."""
    module, data = module or make_module(), data or make_data()
    data.setup("fit")
    module.build(data.dataset.train)
    outcomes = []

    def users(share: float) -> Iterable[RankingBatch]:
        loader = data.val_dataloader()
        loader.share = share
        return loader

    def train(task: Task) -> Outcome:
        outcomes.append(train_task(task, module.recommender, data.train_dataloader(), users, SEED))
        return outcomes[-1]

    budgets = resolve_budgets(
        [BUDGET], module.network.shape, method.min_size(module.network, module.network.rebuilds_rows)
    )
    results = run_method(method, Problem(module.recommender, users, budgets, seed=SEED), train)
    return outcomes, results


def assert_same(found: Outcome, expected: Outcome) -> None:
    """All but seconds is the same, to the last digit."""
    for name in ("metrics", "epochs", "best_epoch", "failed"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        assert found.weights[name].equal(value), name
