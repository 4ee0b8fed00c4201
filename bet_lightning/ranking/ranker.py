"""Top-k lists of a backbone, and the metrics of these lists."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.backbones.dot import Factors
from bet_lightning.objectives import ItemPowers, Objective
from bet_lightning.ranking.metrics import RankingMetrics
from bet_lightning.ranking.topk import top_k_items

if TYPE_CHECKING:
    from bet_lightning.data import RankingBatch

_CACHED_SCORE_BYTES = 4 << 20  # of the float32 scores of a block
_FEWEST_USERS = 32  # in a block: for fewer, reading all items' vectors would not be worth it


class UserMetrics(NamedTuple):
    """Metrics of single users.

    Attributes:
        users: ``(b,)`` int64.
        values: ``(b, len(names))`` float64; rows without targets are 0.
        names: ``recall@k`` and ``ndcg@k``, by column.
    """

    users: Tensor
    values: Tensor
    names: tuple[str, ...]


class TopItems(NamedTuple):
    """The best unseen items of a block of users.

    Attributes:
        users: ``(b,)`` int64.
        items: ``(b, k)`` int64, best first. -1 where no item is left.
        scores: ``(b, k)`` float32.
    """

    users: Tensor
    items: Tensor
    scores: Tensor


def scale_items(factors: Factors, frequency: Tensor, powers: ItemPowers) -> Factors:
    r"""Scale items' final vectors by :math:`\|z_i\|^{p - 1} f_i^q`, so that dot products rank as the loss needs.

    Args:
        factors: Final vectors.
        frequency: ``(num_items,)`` training interactions :math:`f_i` of each item.
        powers: The powers p of an item's norm and q of its popularity.

    Returns:
        The same factors with scaled vectors of items.
    """
    norms = torch.linalg.vector_norm(factors.items, dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    popularity = frequency.unsqueeze(1).clamp(min=1)
    scale = norms ** (powers.norm_power - 1)
    return factors._replace(items=factors.items * scale * popularity**powers.popularity_power)


class Ranker:
    """A ranker of all items for users with a backbone, which also counts hits.

    Args:
        network: The backbone.
        objective: The loss, which determines how items are scaled.
        metrics: Metrics of the lists, whose length is the largest of their cut-offs.

    Attributes:
        warnings: Messages for the caller to show and to clear.
    """

    def __init__(self, network: Backbone, objective: Objective, metrics: RankingMetrics) -> None:
        self.network = network
        self.objective = objective
        self.metrics = metrics
        self.warnings: list[str] = []
        self._encoded: Any = None
        self._users_at_once = sys.maxsize

    def start(self) -> None:
        """Begin an evaluation: forget the encoded tables and the counts of an earlier one."""
        self._encoded = None
        self.metrics.reset()

    def rank(self, batch: RankingBatch, k: int) -> TopItems:
        """Return the k best unseen items of a block of users.

        Tables are encoded once per evaluation, at its first batch. If memory runs out, this block and all that follow
        are ranked in halves.

        Args:
            batch: The users, with their seen items.
            k: Length of the lists.

        Raises:
            torch.OutOfMemoryError: If not even one user's scores fit.
        """
        if self._encoded is None:
            self._encoded = self._encode()
        while True:
            size = self.users_per_block()
            try:
                blocks = [self._top_items(block, k) for block in batch.split(size)]
                return blocks[0] if len(blocks) == 1 else TopItems(*map(torch.cat, zip(*blocks, strict=True)))
            except torch.OutOfMemoryError:
                self._users_at_once = min(size, len(batch.users)) // 2
                if not self._users_at_once:
                    raise
                self.warnings.append(f"out of memory: ranking {self._users_at_once} users at once from now on")

    def count(self, batch: RankingBatch) -> UserMetrics:
        """Rank a block of users, count which of their targets are found, and return what each of them reached."""
        top = self.rank(batch, max(self.metrics.ks))
        self.metrics.update(top.items, batch.target_rows, batch.target_items, self.network.num_items)
        return UserMetrics(batch.users, self.metrics.per_user, self.metrics.names)

    def finish(self) -> dict[str, float]:
        """Return ``recall@k`` and ``ndcg@k`` by name, then begin a new evaluation.

        Where metrics are synchronised, they cover the users of all processes.
        """
        metrics = {name: float(value) for name, value in self.metrics.compute().items()}
        self.start()
        return metrics

    @torch.no_grad()
    def evaluate(self, batches: Iterable[RankingBatch]) -> dict[str, float]:
        """Return the metrics of the network in evaluation mode, then restore its mode.

        Args:
            batches: Blocks of users with their targets.
        """
        training = self.network.training
        self.network.eval()
        self.start()
        device = self.network.frequency.device
        for batch in batches:
            self.count(type(batch)(*(tensor.to(device) for tensor in batch)))
        metrics = self.finish()
        self.network.train(training)
        return metrics

    @torch.no_grad()
    def evaluate_users(self, batches: Iterable[RankingBatch]) -> Tensor:
        """Return the quality of each user's list: the mean of its metrics, with the network in evaluation mode.

        Args:
            batches: Blocks of users with their targets.

        Returns:
            ``(num_users,)`` float64 on the CPU, nan for users without targets.
        """
        training = self.network.training
        self.network.eval()
        self.start()
        device = self.network.frequency.device
        found = torch.full((self.network.num_users,), torch.nan, dtype=torch.float64)
        for batch in batches:
            block = type(batch)(*(tensor.to(device) for tensor in batch))
            top = self.rank(block, max(self.metrics.ks))
            values, num_targets = self.metrics.measure(
                top.items, block.target_rows, block.target_items, self.network.num_items
            )
            found[batch.users.cpu()] = values.mean(1).masked_fill(num_targets == 0, torch.nan).cpu()
        self.start()
        self.network.train(training)
        return found

    def users_per_block(self) -> int:
        """Return how many users to rank at once, whatever the size of a batch.

        On a CPU, so few that top-k finds their scores in the cache, but at least 32.
        """
        if self.network.frequency.device.type != "cpu":
            return self._users_at_once
        cached = _CACHED_SCORE_BYTES // (4 * self.network.num_items)
        return min(self._users_at_once, max(cached, _FEWEST_USERS))

    @torch.no_grad()
    def _encode(self) -> Any:
        powers = self.objective.item_powers
        encoded = self.network.encode()
        if powers is None:
            return encoded
        return scale_items(encoded, self.network.frequency[self.network.num_users :], powers)

    def _top_items(self, batch: RankingBatch, k: int) -> TopItems:
        scores = self.network.score(self._encoded, batch.users)
        values, items = top_k_items(scores, batch.seen_rows, batch.seen_items, k)
        return TopItems(batch.users, items, values)
