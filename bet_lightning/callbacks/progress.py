"""A progress bar that says what an epoch is for."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from bet_lightning.callbacks.table_search import TableSearch


class SearchProgressBar(RichProgressBar):
    """Shows phase, iteration, best fitness so far and the time that remains.

    Args:
        refresh_rate: Batches between two refreshes.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._started: tuple[int, float] | None = None

    def _get_train_description(self, current_epoch: int) -> str:
        search = next((c for c in self.trainer.callbacks if isinstance(c, TableSearch)), None)  # type: ignore[attr-defined]
        return search.plan.status if search and search.plan else super()._get_train_description(current_epoch)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Metrics beside the bar: best fitness and the remaining time, estimated from the epochs so far."""
        metrics = dict(super().get_metrics(trainer, pl_module))
        metrics.pop("v_num", None)
        search = next((c for c in trainer.callbacks if isinstance(c, TableSearch)), None)  # type: ignore[attr-defined]
        if search is None or search.plan is None:
            return metrics
        now = time.monotonic()
        if self._started is None:
            self._started = (trainer.current_epoch, now)
        if search.plan.best_fitness is not None:
            metrics["best_fitness"] = f"{search.plan.best_fitness:.3f}"
        epochs = trainer.current_epoch - self._started[0]
        if epochs:
            left = (now - self._started[1]) / epochs * search.plan.epochs_left
            metrics["remaining"] = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return metrics
