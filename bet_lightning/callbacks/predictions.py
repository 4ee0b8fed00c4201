"""Writes what ``predict`` ranks, with the ids of the user's own files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning
from pytorch_lightning.callbacks import BasePredictionWriter

from bet_lightning.modules import TopItems


class PredictionWriter(BasePredictionWriter):
    """Writes top-k lists as ``user, rank, item, score``, one line a recommendation.

    Args:
        path: A ``.csv`` or ``.parquet`` file (default: ``predictions.csv`` in the run folder).

    Raises:
        ValueError: If the file has another suffix.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(write_interval="epoch")
        if path is not None and Path(path).suffix not in (".csv", ".parquet"):
            raise ValueError(f"predictions.path must end with .csv or .parquet, got {path}")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: pytorch_lightning.Trainer,
        pl_module: pytorch_lightning.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write the lists of all users of this process."""
        blocks = [block for block in predictions if isinstance(block, TopItems)]
        if not blocks:
            return
        path = Path(self.path or Path(trainer.default_root_dir) / "predictions.csv")
        if trainer.world_size > 1:
            path = path.with_stem(f"{path.stem}-{trainer.global_rank}")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = trainer.datamodule.dataset  # type: ignore[attr-defined]
        users, items, scores = (np.concatenate([b[i].cpu().numpy() for b in blocks]) for i in range(3))
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
        write = table.write_csv if path.suffix == ".csv" else table.write_parquet
        write(path)
