"""Collects what each user reached in a test."""

from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch

from bet_lightning.ranking.ranker import UserMetrics
from bet_lightning.runs.users import user_table


class UserMetricsCollector(lightning.Callback):
    """Keeps the metrics of single users from one test to the next, those of all devices together.

    Attributes:
        table: The last test's, as :func:`bet_lightning.runs.users.user_table` describes it; None before the first.
    """

    def __init__(self) -> None:
        self.table: pl.DataFrame | None = None
        self._blocks: list[pl.DataFrame] = []

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget an earlier test."""
        self.table = None
        self._blocks.clear()

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a block of users, as float32 on the CPU."""
        if isinstance(outputs, UserMetrics):
            values = outputs.values.cpu().numpy().astype(np.float32)
            self._blocks.append(user_table(outputs.users.cpu().numpy(), values, outputs.names))

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Join the blocks of all devices, in the order of the users."""
        blocks = self._blocks
        if trainer.world_size > 1:
            everyone: list[list[pl.DataFrame]] = [[]] * trainer.world_size
            torch.distributed.all_gather_object(everyone, blocks)
            blocks = [block for each in everyone for block in each]
        if blocks:
            self.table = pl.concat(blocks).sort("user")
        self._blocks = []
