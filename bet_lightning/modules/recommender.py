"""The LightningModule around a recommender: what is trained and ranked is pure torch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed import is_available, is_initialized

from bet_lightning.backbones import Backbone, Edges, LightGCN
from bet_lightning.checkpoints import DATA_HASH, KIND, check_data, check_kind
from bet_lightning.data import BPRBatch, Csr, RankingBatch
from bet_lightning.objectives import Objective
from bet_lightning.optimizers import can_step_by_rows, pays_by_rows
from bet_lightning.ranking import RankingMetrics
from bet_lightning.ranking.ranker import TopItems, UserMetrics
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import build_table

BackboneFactory = Callable[[Edges], Backbone]
TABLES = "tables"  # where a checkpoint describes tables that are no prefix tables


class RecommenderModule(pl.LightningModule):
    """Trains a backbone and ranks all items for evaluation and prediction.

    The backbone is built when the data is known (``configure_model``), from the training interactions alone. What is
    left out follows the backbone's recipe, the settings that do best in ``configs/results``.

    Args:
        backbone: Makes the backbone from the training edges: a backbone class or a partial of one.
        l2: Weight of the squared norm of the batch's table rows in the loss.
        schedule: Learning rate of Adam from fresh weights; a search restarts it with every training.
        objective: The loss, and how items are ranked with it.
        ks: Cut-offs of the ranking metrics; ``predict`` lists the largest number of items.
        row_steps: Whether a step touches no more rows than its batch looks up, with the same result; for MF and NeuMF
            on one CPU process, with numba (default: where a table is large for its batches).
        state_dir: Folder, on a disk, where such steps keep Adam's two numbers a parameter instead of in memory.

    Attributes:
        shared: Whether the ranks of several devices train and validate it together.

    Raises:
        ValueError: If ``l2`` is negative or a cut-off is below 1.
    """

    backbone: Backbone | None

    def __init__(
        self,
        backbone: BackboneFactory = LightGCN,
        l2: float | None = None,
        schedule: LRSchedule | None = None,
        objective: Objective | None = None,
        ks: Sequence[int] = (5, 10, 20),
        row_steps: bool | None = None,
        state_dir: str | None = None,
    ) -> None:
        super().__init__()
        if l2 is not None and l2 < 0:
            raise ValueError(f"model.l2 must not be negative, got {l2}")
        if not ks or min(ks) < 1:
            raise ValueError(f"model.ks must be cut-offs of at least 1, got {list(ks)}")
        self.backbone_factory = backbone
        self.backbone = None
        self.l2 = l2
        self.schedule = schedule
        self.objective = objective
        self.ks = tuple(sorted(ks))
        self.row_steps = row_steps
        self.state_dir = Path(state_dir) if state_dir else None
        self.shared = True
        self.metrics = RankingMetrics(self.ks, distributed_available_fn=lambda: self.shared and _is_distributed())
        self._recommender: Recommender | None = None

    @property
    def recommender(self) -> Recommender:
        """The backbone with its loss and its ranking, once it is built."""
        if self._recommender is None:
            raise RuntimeError("the backbone is built when the module meets its data: call build() first")
        return self._recommender

    @property
    def network(self) -> Backbone:
        """The backbone, once it is built."""
        return self.recommender.network

    def build(self, train: Csr) -> None:
        """Build the backbone.

        Args:
            train: Training interactions, users x items.

        Raises:
            ValueError: If a cut-off exceeds the number of items, or the objective cannot be used with the backbone.
        """
        edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
        self.backbone = self.backbone_factory(edges)
        self._recommender = Recommender(self.backbone, self.objective, self.l2, self.schedule, self.metrics)
        self.schedule = self._recommender.schedule

    def configure_model(self) -> None:
        """Build the backbone from the data module's training interactions, once."""
        if self.backbone is None:
            self.build(self.trainer.datamodule.dataset.train)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the backbone and its data, and describe tables that are not masked, so that they can be built again."""
        checkpoint[KIND] = type(self.network).__name__
        checkpoint[DATA_HASH] = self._data_hash
        if not self.network.has_prefix_tables or self.network.dtype != "fp32":
            tables = (self.network.table(index) for index in range(len(self.network.tables)))
            checkpoint[TABLES] = [dict(table.describe()) for table in tables]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another backbone or of other data, and make room for tables of any form.

        Raises:
            ValueError: If it is of another backbone or was made from another split.
        """
        check_data(checkpoint, self._data_hash)
        self.use_tables_of(checkpoint)

    @property
    def _data_hash(self) -> str:
        """Hash of the data that it is trained on or evaluated on."""
        return str(self.trainer.datamodule.dataset.hash)  # type: ignore[attr-defined]

    def use_tables_of(self, checkpoint: Mapping[str, Any]) -> None:
        """Give the backbone tables of the form that a checkpoint holds, whose weights are still to be loaded.

        Raises:
            ValueError: If the checkpoint is of another backbone or holds tables of an unknown form.
        """
        check_kind(checkpoint, self.network)
        if TABLES in checkpoint:
            self.network.use_tables([build_table(description) for description in checkpoint[TABLES]])
        else:
            self.network.use_masked_tables()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint's weights.

        Raises:
            ValueError: If they are those of another backbone or of other data.
        """
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            mismatch = str(error).splitlines()[1:2] or [str(error)]
            raise ValueError(f"the checkpoint is of another backbone or other data: {mismatch[0].strip()}") from None

    def training_step(self, batch: BPRBatch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch of triplets."""
        loss = self.recommender.loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.users))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the schedule may be replaced before each call."""
        schedule = self.schedule or self.recommender.schedule
        by_rows = self._steps_by_rows()
        optimizer, scheduler = make_optimizer(
            self.network, schedule, lambda: int(self._steps_per_epoch()), by_rows, self.state_dir
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps_by_rows(self) -> bool:
        """Whether steps touch the rows of their batch alone.

        Raises:
            ValueError: If that is wanted where it cannot be.
        """
        if self.state_dir and (self.row_steps is False or not self.network.looks_rows_up):
            raise ValueError(
                f"model.state_dir {self.state_dir} is for steps by rows: MF and NeuMF, model.row_steps true"
            )
        if self.row_steps is False:
            return False
        trainer = self.trainer
        plain = trainer.world_size == 1 and trainer.precision == "32-true" and trainer.gradient_clip_val is None
        possible = plain and can_step_by_rows(self.network)
        if self.row_steps and not possible:
            raise ValueError(
                "model.row_steps true needs a backbone that only looks rows up (MF, NeuMF), one process on the CPU, "
                "full precision, no gradient clipping, and numba"
            )
        if self.row_steps or not possible:
            return possible
        data = trainer.datamodule  # type: ignore[attr-defined]
        return data is not None and pays_by_rows(self.network, data.triplets.batch_size)

    def _steps_per_epoch(self) -> float:
        """Batches of an epoch; 1 before the trainer has met its loader, when only step 0 is asked for."""
        count = self.trainer.num_training_batches
        return count if count != float("inf") else 1

    def on_validation_epoch_start(self) -> None:
        """Forget encoded tables and counts of an evaluation that was broken off."""
        self.recommender.ranker.start()

    def validation_step(self, batch: RankingBatch, batch_idx: int) -> None:
        """Rank a block of users against their validation items."""
        self.recommender.ranker.count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/recall@k`` and ``val/ndcg@k``."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Start counting from zero."""
        self.recommender.ranker.start()

    def test_step(self, batch: RankingBatch, batch_idx: int) -> UserMetrics:  # type: ignore[override]
        """Rank a block of users against their test items, and tell callbacks what each of them reached."""
        return self.recommender.ranker.count(batch)

    def on_test_epoch_end(self) -> None:
        """Log ``test/recall@k`` and ``test/ndcg@k``."""
        self._log_metrics("test")

    def on_predict_epoch_start(self) -> None:
        """Forget what an earlier evaluation encoded."""
        self.recommender.ranker.start()

    def predict_step(self, batch: RankingBatch, batch_idx: int) -> TopItems:
        """Return the best unseen items of a block of users."""
        return self.recommender.ranker.rank(batch, max(self.ks))

    def _log_metrics(self, stage: str) -> None:
        ranker = self.recommender.ranker
        for warning in ranker.warnings:
            rank_zero_warn(warning)
        ranker.warnings.clear()
        # float64, as they are: Lightning makes float32 of Python's numbers
        found = {name: torch.tensor(value, dtype=torch.float64) for name, value in ranker.finish().items()}
        self.log_dict({f"{stage}/{name}": value for name, value in found.items()})


def _is_distributed() -> bool:
    """Whether there are several processes to add metrics up over."""
    return is_available() and is_initialized()
