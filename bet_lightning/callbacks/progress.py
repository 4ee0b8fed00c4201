"""A progress bar that says what an epoch is for."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import BatchesProcessedColumn
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.table import Column

from bet_lightning.callbacks.table_search import TableSearch


class SearchProgressBar(RichProgressBar):
    """Shows what is trained, the best so far and the time that remains, in a line, and is gone when that is over.

    Args:
        refresh_rate: Batches between two refreshes.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._started: tuple[int, float] | None = None

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Return columns that leave room for the metrics on a line of 80."""
        described = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        return [described, BarColumn(12), BatchesProcessedColumn(self.theme.batch_progress)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar that is to vanish."""
        super().on_train_start(trainer, pl_module)
        self._let_vanish()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar that is to vanish."""
        super().on_validation_start(trainer, pl_module)
        self._let_vanish()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar that is to vanish."""
        super().on_test_start(trainer, pl_module)
        self._let_vanish()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar that is to vanish."""
        super().on_predict_start(trainer, pl_module)
        self._let_vanish()

    def _let_vanish(self) -> None:
        """Leave nothing of the bar where it ends, neither on a terminal nor in a file."""
        if self.progress is not None:
            self.progress.live.transient = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what the epoch is for."""
        super().on_train_epoch_start(trainer, pl_module)
        search, bar = _search(trainer), self.train_progress_bar_id
        if search and search.trial and self.progress is not None and bar is not None:
            description = f"{search.trial.task.label}, epoch {search.trial.epoch + 1}"
            self.progress.update(bar, description=description)
            self.refresh()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return what stands beside the bar: the best fitness and the time that is left, as the epochs so far took."""
        search = _search(trainer)
        if search is None or search.trial is None or search.round is None:
            metrics = dict(super().get_metrics(trainer, pl_module))
            metrics.pop("v_num", None)
            return metrics
        shown: dict[str, Any] = {}
        now = time.monotonic()
        if self._started is None:
            self._started = (trainer.current_epoch, now)
        if search.recorder and search.recorder.best_fitness is not None:
            shown["best"] = f"{search.recorder.best_fitness:.1%}"
        epochs = trainer.current_epoch - self._started[0]
        if epochs:
            to_come = max(1, search.trial.task.epochs.max_epochs - search.trial.epoch)
            own = to_come if search.trial.task.measures_only else min(to_come, max(1, epochs))
            left = (now - self._started[1]) / epochs * (own + search.round.epochs_after)
            shown["left"] = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return shown


def _search(trainer: pl.Trainer) -> TableSearch | None:
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, TableSearch)), None)
