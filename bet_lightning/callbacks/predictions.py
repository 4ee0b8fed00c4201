"""Writes what ``predict`` ranks, with the ids of the user's own files."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
from pytorch_lightning.callbacks import BasePredictionWriter

from bet_lightning.ranking.ranker import TopItems
from bet_lightning.replacing import replacing


class PredictionWriter(BasePredictionWriter):
    """Writes top-k lists as ``user, rank, item, score``, one line a recommendation.

    Every batch is written as it comes, beside the file; all are joined at the end without being held.

    Args:
        path: A ``.csv`` or ``.parquet`` file (default: ``predictions.csv`` in the run folder).

    Raises:
        ValueError: If the file has another suffix.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(write_interval="batch")
        if path is not None and Path(path).suffix not in (".csv", ".parquet"):
            raise ValueError(f"predictions.path must end with .csv or .parquet, got {path}")
        self.path = path

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Make an empty folder for the batches.

        Raises:
            ValueError: If it cannot be made.
        """
        parts = self._parts(trainer)
        try:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
        except OSError as error:
            raise ValueError(f"predictions.path {self._path(trainer)}: cannot be written ({error})") from error

    def write_on_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the lists of a block of users."""
        if not isinstance(prediction, TopItems):
            return
        data = trainer.datamodule.dataset  # type: ignore[attr-defined]
        users, items, scores = (tensor.cpu().numpy() for tensor in prediction)
        listed = items >= 0
        rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[listed]
        table = pl.DataFrame(
            {
                "user": data.user_ids[np.broadcast_to(users[:, None], items.shape)[listed]],
                "rank": rank,
                "item": data.item_ids[items[listed]],
                "score": scores[listed],
            }
        )
        table.write_parquet(self._parts(trainer) / f"{batch_idx:08}.parquet")

    def on_predict_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Join the batches in one file."""
        path, parts = self._path(trainer), self._parts(trainer)
        if any(parts.iterdir()):
            lists = pl.scan_parquet(parts / "*.parquet")
            with replacing(path) as partial:
                (lists.sink_csv if path.suffix == ".csv" else lists.sink_parquet)(partial)
        shutil.rmtree(parts)

    def _path(self, trainer: lightning.Trainer) -> Path:
        path = Path(self.path or Path(trainer.default_root_dir) / "predictions.csv")
        return path.with_stem(f"{path.stem}-{trainer.global_rank}") if trainer.world_size > 1 else path

    def _parts(self, trainer: lightning.Trainer) -> Path:
        path = self._path(trainer)
        return path.with_name(f"{path.name}.parts")
