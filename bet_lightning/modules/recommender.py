"""The LightningModule around a recommender backbone with a masked embedding table."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed import is_available, is_initialized
from torch.optim.lr_scheduler import LambdaLR

from bet_lightning.backbones import Backbone, Edges
from bet_lightning.data import BPRBatch, Csr, RankingBatch
from bet_lightning.modules.schedule import LRSchedule
from bet_lightning.modules.softmax import SampledSoftmax
from bet_lightning.ranking import RankingMetrics, top_k_items

BackboneFactory = Callable[[Edges], Backbone]

_CACHED_SCORE_BYTES = 4 << 20
_FEWEST_USERS = 32  # in a product: fewer would read all items' vectors for little work


class TopItems(NamedTuple):
    """The best unseen items of a block of users.

    Attributes:
        users: (b,) int64.
        items: (b, k) int64, best first; -1 where fewer than k items are left.
        scores: (b, k) float32.
    """

    users: Tensor
    items: Tensor
    scores: Tensor


class RecommenderModule(pl.LightningModule):
    """Trains a backbone with BPR or a sampled softmax and ranks all items for evaluation and prediction.

    The backbone is built when the data is known (``configure_model``), from the training interactions alone.

    Args:
        backbone: Makes the backbone from the training edges: a backbone class or a partial of one.
        l2: Weight of the squared norm of the batch's table rows in the loss.
        schedule: Learning rate of Adam; a search restarts it with every training.
        softmax: The sampled softmax loss to train with; None trains with BPR.
        ks: Cut-offs of the ranking metrics; ``predict`` lists the largest number of items.

    Attributes:
        shared: Whether the ranks of several devices train and validate it together.

    Raises:
        ValueError: If ``l2`` is negative or a cut-off is below 1.
    """

    backbone: Backbone | None

    def __init__(
        self,
        backbone: BackboneFactory,
        l2: float = 1e-4,
        schedule: LRSchedule = LRSchedule(),  # noqa: B008 (frozen)
        softmax: SampledSoftmax | None = None,
        ks: Sequence[int] = (5, 10, 20),
    ) -> None:
        super().__init__()
        if l2 < 0:
            raise ValueError(f"model.l2 must not be negative, got {l2}")
        if not ks or min(ks) < 1:
            raise ValueError(f"model.ks must be cut-offs of at least 1, got {list(ks)}")
        self.backbone_factory = backbone
        self.backbone = None
        self.l2, self.schedule, self.softmax, self.ks = l2, schedule, softmax, tuple(sorted(ks))
        self.shared = True
        self.metrics = RankingMetrics(self.ks, distributed_available_fn=lambda: self.shared and is_distributed())
        self.encoded: Any = None
        self._users_at_once = sys.maxsize

    @property
    def network(self) -> Backbone:
        """The backbone, once it is built."""
        if self.backbone is None:
            raise RuntimeError("the backbone is built when the module meets its data: call build() first")
        return self.backbone

    def build(self, train: Csr) -> None:
        """Build the backbone.

        Args:
            train: Training interactions, users x items.

        Raises:
            ValueError: If a cut-off exceeds the number of items, or the softmax cannot be used with the backbone.
        """
        if max(self.ks) > train.num_cols:
            raise ValueError(f"model.ks must not exceed the {train.num_cols} items of the data, got {max(self.ks)}")
        edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
        self.backbone = self.backbone_factory(edges)
        if self.softmax:
            self.softmax.check(self.backbone)

    def configure_model(self) -> None:
        """Build the backbone from the data module's training interactions, once."""
        if self.backbone is None:
            self.build(self.trainer.datamodule.dataset.train)  # type: ignore[attr-defined]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a packed table of other data.

        Raises:
            ValueError: If it was made from another split.
        """
        wanted = checkpoint.get("data_hash")
        if wanted and wanted != (found := self.trainer.datamodule.dataset.hash):  # type: ignore[attr-defined]
            raise ValueError(f"the packed table is of other data or another split, hash {wanted}, not {found}")

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

    def set_sizes(self, sizes: Tensor, cap: int, refit_steps: int | None = None) -> None:
        """Let sizes enter the embedding: the one place where a budget is enforced on a model.

        Args:
            sizes: (num_rows,) parameters a row, users first.
            cap: The budget in parameters.
            refit_steps: Cut a full table and take so many steps to make up for it; None only sets sizes.

        Raises:
            ValueError: If the sizes exceed the cap.
        """
        used = int(sizes.sum())
        if used > cap:
            raise ValueError(f"sizes sum to {used} parameters, over the budget of {cap}")
        if refit_steps is None:
            self.network.set_sizes(sizes)
        else:
            self.network.cut(sizes, refit_steps)

    def loss(self, batch: BPRBatch) -> Tensor:
        """BPR (Rendle et al. 2009), ``mean(-log sigmoid(pos - neg))``, or the softmax, plus ``l2 * regulariser``."""
        if self.softmax:
            ranking, regularizer = self.softmax(self.network, *batch)
        else:
            pos_scores, neg_scores, regularizer = self.network(*batch)
            ranking = torch.nn.functional.softplus(neg_scores - pos_scores).mean()
        loss: Tensor = ranking + self.l2 * regularizer
        return loss

    def training_step(self, batch: BPRBatch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch of triplets."""
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.users))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam over the whole table; the schedule may be replaced before each call."""
        # LambdaLR multiplies the base rate, which is therefore 1, and reads the schedule in force at every step
        optimizer = torch.optim.Adam(self.parameters(), lr=1.0, fused=True)
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rank(self, batch: RankingBatch, k: int) -> TopItems:
        """The k best unseen items of a block of users.

        Tables are encoded once an evaluation: at its first batch, and forgotten at its end. Where memory runs out, the
        block is ranked in halves, and so are those that follow.
        """
        if self.encoded is None:
            self.encoded = self.softmax.encode(self.network) if self.softmax else self.network.encode()
        while True:
            size = self.users_per_block()
            try:
                blocks = [self._top_items(block, k) for block in batch.split(size)]
                return blocks[0] if len(blocks) == 1 else TopItems(*map(torch.cat, zip(*blocks, strict=True)))
            except torch.OutOfMemoryError:
                self._users_at_once = min(size, len(batch.users)) // 2
                if not self._users_at_once:
                    raise
                rank_zero_warn(f"out of memory: ranking {self._users_at_once} users at once from now on")

    def users_per_block(self) -> int:
        """Users ranked at once, without a batch's bound: on a CPU so many that top-k finds their scores in cache."""
        if self.device.type != "cpu":
            return self._users_at_once
        cached = _CACHED_SCORE_BYTES // (4 * self.network.num_items)
        return min(self._users_at_once, max(cached, _FEWEST_USERS))

    def _top_items(self, batch: RankingBatch, k: int) -> TopItems:
        scores = self.network.score(self.encoded, batch.users)
        values, items = top_k_items(scores, batch.seen_rows, batch.seen_items, k)
        return TopItems(batch.users, items, values)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[RankingBatch]) -> dict[str, float]:
        """Validation metrics of the network as it is, outside of Lightning's loops.

        Args:
            batches: Blocks of users with their targets.

        Returns:
            ``recall@k`` and ``ndcg@k`` by name.
        """
        training = self.training
        self.eval()
        self.on_validation_epoch_start()
        for batch in batches:
            self._rank_and_count(self.transfer_batch_to_device(batch, self.device, 0))
        metrics = {name: float(value) for name, value in self.metrics.compute().items()}
        self.on_validation_epoch_start()
        self.train(training)
        return metrics

    def _rank_and_count(self, batch: RankingBatch) -> None:
        top = self.rank(batch, max(self.ks))
        self.metrics.update(top.items, batch.target_rows, batch.target_items, self.network.num_items)

    def _log_metrics(self, stage: str) -> None:
        self.log_dict({f"{stage}/{name}": value for name, value in self.metrics.compute().items()})
        self.metrics.reset()
        self.encoded = None

    def on_validation_epoch_start(self) -> None:
        """Forget encoded tables and counts of an evaluation that was broken off."""
        self.encoded = None
        self.metrics.reset()

    def validation_step(self, batch: RankingBatch, batch_idx: int) -> None:
        """Rank a block of users against their validation items."""
        self._rank_and_count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/recall@k`` and ``val/ndcg@k``."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Start counting afresh."""
        self.on_validation_epoch_start()

    def test_step(self, batch: RankingBatch, batch_idx: int) -> None:
        """Rank a block of users against their test items."""
        self._rank_and_count(batch)

    def on_test_epoch_end(self) -> None:
        """Log ``test/recall@k`` and ``test/ndcg@k``."""
        self._log_metrics("test")

    def on_predict_epoch_start(self) -> None:
        """Forget what an earlier evaluation encoded."""
        self.encoded = None

    def predict_step(self, batch: RankingBatch, batch_idx: int) -> TopItems:
        """The best unseen items of a block of users."""
        return self.rank(batch, max(self.ks))


def is_distributed() -> bool:
    """Whether there are several processes to add metrics up over."""
    return is_available() and is_initialized()
