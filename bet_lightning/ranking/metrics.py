"""Recall and NDCG of top-k lists against sparse targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

MEASURES = ("recall", "ndcg")


def hits_at_k(top_items: Tensor, target_rows: Tensor, target_items: Tensor, num_items: int) -> Tensor:
    """Return which entries of top-k lists are targets, by look-up in the sorted targets.

    Args:
        top_items: ``(b, k)`` int64, best first; -1 stands for no item and is never a hit.
        target_rows: ``(T,)`` int64, rows of ``top_items`` (not user ids).
        target_items: ``(T,)`` int64; pairs are unique and sorted by row, then item.
        num_items: Number of items.

    Returns:
        ``(b, k)`` bool.

    Raises:
        ValueError: If the targets are not sorted or hold a pair twice.
    """
    keys = target_rows * num_items + target_items
    if bool((keys[1:] <= keys[:-1]).any()):
        raise ValueError("target_rows and target_items must be unique pairs sorted by row, then item")
    if keys.numel() == 0:
        return torch.zeros_like(top_items, dtype=torch.bool)
    rows = torch.arange(top_items.shape[0], device=top_items.device).unsqueeze(1)
    wanted = rows * num_items + top_items
    found = keys[torch.searchsorted(keys, wanted).clamp_(max=keys.numel() - 1)]
    # Without the second condition, the key of -1 would be that of the last item in the row above.
    return (found == wanted) & (top_items >= 0)


def recall_ndcg(hits: Tensor, num_targets: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    r"""Return Recall@k and NDCG@k of each row.

    .. math::
        \mathrm{recall@}k = \frac{1}{|T|} \sum_{r=1}^{k} h_r, \qquad
        \mathrm{ndcg@}k = \sum_{r=1}^{k} \frac{h_r}{\log_2(r + 1)} \Big/
        \sum_{r=1}^{\min(|T|, k)} \frac{1}{\log_2(r + 1)}

    Args:
        hits: ``(b, K)`` bool, hits by rank, best first.
        num_targets: ``(b,)`` integers, :math:`|T|` of each row.
        ks: The cut-offs, each in ``1..K``.

    Returns:
        ``recall@k`` and ``ndcg@k`` for each k, ``(b,)`` float64. Rows without targets are 0, and averages must leave
        them out.

    Raises:
        ValueError: If a cut-off is out of range.
    """
    length = hits.shape[1]
    if not ks or min(ks) < 1 or max(ks) > length:
        raise ValueError(f"ks must be in 1..{length} (the length of the lists), got {list(ks)}")
    ranks = torch.arange(1, length + 1, dtype=torch.float64, device=hits.device)
    discounts = (ranks + 1).log2().reciprocal()
    found = hits.double().cumsum(1)
    gain = (hits * discounts).cumsum(1)
    ideal = discounts.cumsum(0)
    divisor = num_targets.clamp(min=1)
    result = {f"recall@{k}": found[:, k - 1] / divisor for k in ks}
    return result | {f"ndcg@{k}": gain[:, k - 1] / ideal[divisor.clamp(max=k) - 1] for k in ks}


def quality(metrics: Mapping[str, float]) -> float:
    """Return the mean over k of (Recall@k + NDCG@k) / 2: what BET (WSDM 2024) calls eval (Sec. 4).

    Args:
        metrics: Metrics by name. Those that are neither ``recall@k`` nor ``ndcg@k`` are ignored.

    Raises:
        ValueError: If there is no ``recall@k`` or ``ndcg@k``.
    """
    values = [float(value) for name, value in metrics.items() if name.partition("@")[0] in MEASURES]
    if not values:
        raise ValueError(f"metrics must hold recall@k or ndcg@k, got {sorted(metrics)}")
    return sum(values) / len(values)


class RankingMetrics(Metric):
    """Mean Recall@k and NDCG@k over users with targets, added up over batches and processes.

    The lists are already ranked and masked, so the states are one sum per metric and one count. Neither grows with the
    number of users.

    Args:
        ks: The cut-offs (default: 5, 10, 20).

    Attributes:
        num_users: Number of users that had targets so far, int64 scalar.
        per_user: ``(b, len(names))`` float64, the metrics of each user of the last batch alone; rows without targets
            are 0.

    Raises:
        ValueError: If ``ks`` is empty or holds a cut-off below 1.
    """

    full_state_update: bool | None = False
    higher_is_better: bool | None = True
    is_differentiable: bool | None = False
    sums: Tensor
    num_users: Tensor
    per_user: Tensor

    def __init__(self, ks: Sequence[int] = (5, 10, 20), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not ks or min(ks) < 1:
            raise ValueError(f"ks must be cut-offs of at least 1, got {list(ks)}")
        self.ks = tuple(ks)
        self.names = tuple(f"{measure}@{k}" for measure in MEASURES for k in self.ks)
        self.add_state("sums", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_users", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, top_items: Tensor, target_rows: Tensor, target_items: Tensor, num_items: int) -> None:
        """Add a batch of users.

        Args:
            top_items: ``(b, k)`` int64, best first, -1 where there is no item; k at least ``max(ks)``.
            target_rows: ``(T,)`` int64, rows of ``top_items`` (not user ids).
            target_items: ``(T,)`` int64; pairs are unique and sorted by row, then item.
            num_items: Number of items.

        Raises:
            ValueError: If the lists are too short, or the targets not sorted or not unique.
        """
        self.per_user, num_targets = self.measure(top_items, target_rows, target_items, num_items)
        self.sums += self.per_user.sum(0)  # a user without targets has no hits, and is not counted below
        self.num_users += (num_targets > 0).sum()

    def measure(
        self, top_items: Tensor, target_rows: Tensor, target_items: Tensor, num_items: int
    ) -> tuple[Tensor, Tensor]:
        """Return the metrics of each user of a batch, without adding them up.

        Args:
            top_items: See :meth:`update`, as of all arguments.
            target_rows: See there.
            target_items: See there.
            num_items: See there.

        Returns:
            ``(b, len(names))`` float64, and the number of targets of each user, ``(b,)`` int64.
        """
        num_targets = torch.bincount(target_rows, minlength=top_items.shape[0])
        hits = hits_at_k(top_items, target_rows, target_items, num_items)
        found = recall_ndcg(hits, num_targets, self.ks)
        return torch.stack([found[name] for name in self.names], 1), num_targets

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name, float64 scalars; nan if no user had targets."""
        means = self.sums / self.num_users
        return dict(zip(self.names, means.unbind(), strict=True))
