"""Writes what ``predict`` ranks, with the ids of the user's own files."""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
from pytorch_lightning.callbacks import BasePredictionWriter

from bet_lightning.ranking.ranker import TopItems
from bet_lightning.replacing import replacing

COLUMNS = ("user", "rank", "item", "score")
log = logging.getLogger(__name__)


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
        self._parts: Path | None = None  # folder of the batches

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Make an empty folder for the batches.

        Raises:
            ValueError: If it cannot be made, or the file holds something else than lists.
        """
        path = self._path(trainer)
        _check_output(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parts = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise ValueError(f"predictions.path {path}: cannot be written ({error})") from error

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
        if not isinstance(prediction, TopItems) or self._parts is None:
            return
        data = trainer.datamodule.dataset  # type: ignore[attr-defined]
        users, items, scores = (tensor.cpu().numpy() for tensor in prediction)
        listed = items >= 0
        rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[listed]
        columns = {
            "user": data.user_ids[np.broadcast_to(users[:, None], items.shape)[listed]],
            "rank": rank,
            "item": data.item_ids[items[listed]],
            "score": scores[listed],
        }
        # texts are objects, which say nothing of their kind where there are none
        texts = {name: pl.String for name, values in columns.items() if values.dtype.kind == "O"}
        table = pl.DataFrame(columns, schema_overrides=texts)
        table.write_parquet(self._parts / f"{batch_idx:08}.parquet")

    def on_predict_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Join the batches in one file, and say where it is."""
        path = self._path(trainer)
        if self._parts is not None and any(self._parts.iterdir()):
            lists = pl.scan_parquet(self._parts / "*.parquet")
            with replacing(path) as partial:
                (lists.sink_csv if path.suffix == ".csv" else lists.sink_parquet)(partial)
            log.info("wrote %s", path)
        self._clear()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Leave no batches behind."""
        self._clear()

    def _clear(self) -> None:
        if self._parts is not None:
            shutil.rmtree(self._parts, ignore_errors=True)
            self._parts = None

    def _path(self, trainer: lightning.Trainer) -> Path:
        path = Path(self.path or Path(trainer.default_root_dir) / "predictions.csv")
        return path.with_stem(f"{path.stem}-{trainer.global_rank}") if trainer.world_size > 1 else path


def _check_output(path: Path) -> None:
    """Refuse to put lists in the place of something else.

    Raises:
        ValueError: If there is anything of that name but lists or an empty file.
    """
    if not os.path.lexists(path) or (path.is_file() and not path.stat().st_size):
        return
    try:
        found = pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path)
        held = path.is_file() and tuple(found.collect_schema().names()) == COLUMNS
    except (OSError, pl.exceptions.PolarsError):
        held = False
    if not held:
        raise ValueError(f"predictions.path {path}: holds something else than lists, which is not to be lost")
