"""A backbone with the loss that trains it and the way it ranks: all that a training needs, without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from bet_lightning.backbones import Backbone
from bet_lightning.objectives import BPR, Objective, SampledSoftmax, total_loss
from bet_lightning.optimizers import RowAdam, release_rows
from bet_lightning.ranking.metrics import RankingMetrics
from bet_lightning.ranking.ranker import Ranker
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables.column_shard import ColumnShard

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch, RankingBatch


AuxiliaryLoss = Callable[["Recommender", "BPRBatch"], Tensor]


class Recommender:
    """Trains and ranks with one backbone.

    Args:
        network: The backbone.
        objective: The loss; by default what its recipe says.
        l2: Weight of the squared norm of a batch's table rows; by default what the recipe says.
        schedule: Learning rate from fresh weights; by default what the recipe says.
        metrics: Metrics and their cut-offs (default: at 5, 10 and 20).

    Attributes:
        auxiliary_loss: What the present training adds to the loss of a batch.

    Raises:
        ValueError: If a cut-off exceeds the number of items, or the objective cannot be used with the backbone.
    """

    def __init__(
        self,
        network: Backbone,
        objective: Objective | None = None,
        l2: float | None = None,
        schedule: LRSchedule | None = None,
        metrics: RankingMetrics | None = None,
    ) -> None:
        recipe = network.recipe
        self.network = network
        self.objective = objective or (SampledSoftmax() if recipe.softmax else BPR())
        self.l2 = recipe.l2 if l2 is None else l2
        self.schedule = schedule or recipe.schedule
        self.auxiliary_loss: AuxiliaryLoss | None = None
        self.ranker = Ranker(network, self.objective, metrics or RankingMetrics())
        self.objective.check(network)
        if max(self.ks) > network.num_items:
            raise ValueError(f"model.ks must not exceed the {network.num_items} items of the data, got {max(self.ks)}")

    @property
    def ks(self) -> Sequence[int]:
        """Cut-offs of the metrics."""
        return self.ranker.metrics.ks

    def loss(self, batch: BPRBatch) -> Tensor:
        """Return the loss of a batch of triplets.

        The auxiliary loss comes first: it may change what the tables read as in the batch. Ranks that share a table's
        columns out have the same batch, each computes a part of its loss, and has the gradient of that part.
        """
        auxiliary = None if self.auxiliary_loss is None else self.auxiliary_loss(self, batch)
        table = self.network.table()
        if isinstance(table, ColumnShard):
            part = self.objective.part(batch, table.rank, table.num_ranks)
            share = len(part.users) / len(batch.users)
            part = part if share else batch  # where there are more ranks than triplets: others wait for its exchange
            return table.total(share * total_loss(self.network, self.objective, self.l2, part))
        loss = total_loss(self.network, self.objective, self.l2, batch)
        return loss if auxiliary is None else loss + auxiliary

    def evaluate(self, batches: Iterable[RankingBatch]) -> dict[str, float]:
        """Return ``recall@k`` and ``ndcg@k`` by name of the network as it is."""
        return self.ranker.evaluate(batches)

    def evaluate_users(self, batches: Iterable[RankingBatch]) -> Tensor:
        """Return the quality of each user, ``(num_users,)``: see :meth:`Ranker.evaluate_users`."""
        return self.ranker.evaluate_users(batches)


def make_optimizer(
    network: Backbone,
    schedule: LRSchedule,
    steps_per_epoch: Callable[[], int],
    by_rows: bool = False,
    state_dir: Path | None = None,
) -> tuple[torch.optim.Adam, LambdaLR]:
    """Return Adam over a backbone, and the scheduler to be stepped after every batch.

    Args:
        network: What is trained.
        schedule: Its learning rate.
        steps_per_epoch: Returns the batches of an epoch; asked at every step, as it may not be known before the first.
        by_rows: Whether steps touch no more rows of the tables than a batch does: see :class:`RowAdam`.
        state_dir: Folder where what steps by rows keep of the tables is mapped from, in place of memory.
    """
    release_rows(network)
    # LambdaLR multiplies the base rates, which are therefore 1, or what tables want relative to others
    optimizer: torch.optim.Adam
    if by_rows:
        optimizer = RowAdam(network, lr=1.0, state_dir=state_dir)
    else:
        optimizer = torch.optim.Adam(_groups(network), lr=1.0, fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: schedule(step, max(1, steps_per_epoch())))


def _groups(network: Backbone) -> list[dict[str, Any]]:
    """Group parameters by their learning rate relative to the schedule's."""
    tables = (network.table(index) for index in range(len(network.tables)))
    rates = {id(parameter): rate for table in tables for parameter, rate in table.relative_rates()}
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault(rates.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]
