"""Ranks that share a table's columns out among them while they train it together."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from bet_lightning.backbones import Backbone, HasAuxiliaryLoss
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.modules import RecommenderModule
from bet_lightning.tables import MaskedEmbedding
from bet_lightning.tables.column_shard import ColumnShard


class ColumnsStrategy(DDPStrategy):
    """Processes that hold some columns each of a table that they train together: ``--trainer.strategy columns``.

    All have the same batches, and each computes a part of their loss; ranking is shared by users. It is for backbones
    whose columns are propagated independently (LightGCN, MF), while they train masked tables at full precision. Actions
    are probed one a rank, and all else is trained, as with ``ddp``. A checkpoint has whole tables and all that the
    optimiser keeps of them, so that any number of processes, and any strategy, can go on from it.
    """

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Return an optimiser's state of the whole table."""
        state = super().optimizer_state(optimizer)
        return self._changed(state, ColumnShard.whole)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load a state of the whole table: the columns that are held here."""
        states = [self._changed(state, ColumnShard.part_of) for state in checkpoint["optimizer_states"]]
        super().load_optimizer_state_dict({**checkpoint, "optimizer_states": states})

    def _changed(self, state: dict[str, Any], change: Callable[[ColumnShard, Tensor], Tensor]) -> dict[str, Any]:
        """Change what an optimiser keeps of a table's values, which is as large as they are."""
        module = self.lightning_module
        table = module.network.table() if isinstance(module, RecommenderModule) else None
        if not isinstance(table, ColumnShard):
            return state
        kept = {
            number: {name: change(table, value) if value.dim() else value for name, value in of_table.items()}
            for number, of_table in state["state"].items()  # there is no other parameter
        }
        return {**state, "state": kept}


def share_columns(trainer: pl.Trainer, network: Backbone) -> None:
    """Leave each rank its columns of a table that the ranks are going to train together, where that can be done.

    Raises:
        ValueError: If gradients are clipped or scaled, which each rank would do by its own columns.
    """
    if not isinstance(trainer.strategy, ColumnsStrategy) or trainer.world_size == 1:
        return
    if trainer.precision != "32-true" or trainer.gradient_clip_val:
        got = f"{trainer.precision} and {trainer.gradient_clip_val}"
        raise ValueError(f"trainer.strategy columns needs precision 32-true and no gradient_clip_val, got {got}")
    if _can_be_shared(network):
        network.use_tables([ColumnShard(network.masked_table())])


def _can_be_shared(network: Backbone) -> bool:
    """Whether a backbone's columns are apart, and its table is masked at full precision."""
    apart = isinstance(network, DotProductBackbone) and network.columns_are_apart
    return apart and not isinstance(network, HasAuxiliaryLoss) and type(network.table()) is MaskedEmbedding
