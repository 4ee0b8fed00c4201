"""Elastic pretraining as a Lightning callback."""

import pytorch_lightning as pl

from bet_lightning.callbacks.table_search import TableSearch
from bet_lightning.callbacks.trials import recommender
from bet_lightning.search.elastic import elastic_sizes


class ElasticPretraining(pl.Callback):
    """Cuts every row to a random size in some batches of the pretraining of a ``TableSearch``.

    Args:
        share: Share of the batches.

    Raises:
        ValueError: If it is not in (0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"ElasticPretraining.share must be in (0, 1], got {share}")
        self.share = share

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Draw the batch's sizes."""
        search = _search(trainer)
        if search.plan and search.plan.trial.phase == "pretrain":
            network = recommender(pl_module).network
            shape = network.num_rows, network.row_width
            network.set_sizes(elastic_sizes(*shape, self.share, seed=search.seed, step=trainer.global_step))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate all of each row while the full table is trained."""
        search = _search(trainer)
        if search.plan and search.plan.trial.phase == "pretrain":
            recommender(pl_module).network.set_sizes(search.plan.trial.sizes)


def _search(trainer: pl.Trainer) -> TableSearch:
    search = next((c for c in trainer.callbacks if isinstance(c, TableSearch)), None)  # type: ignore[attr-defined]
    if search is None:
        raise ValueError("ElasticPretraining needs a TableSearch among trainer.callbacks")
    return search
