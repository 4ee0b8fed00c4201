"""Full ranking with metrics against torch_geometric's example and the bare product and top-k."""

from unittest import mock

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone, LightGCN, NeuMF, relu_sums
from bet_lightning.objectives import BPR
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row, Work, compare

K = 20
BLOCK = 1024  # users at once


def example_loop(users: Tensor, items: Tensor, bench: Bench) -> float:
    """Recall as torch_geometric's LightGCN example computes it: a dense truth matrix a block."""
    total, count = 0.0, 0
    for batch in bench.all_users(BLOCK):
        logits = users[batch.users] @ items.T
        logits[batch.seen_rows, batch.seen_items] = float("-inf")
        truth = torch.zeros_like(logits, dtype=torch.bool)
        truth[batch.target_rows, batch.target_items] = True
        hits = truth.gather(1, logits.topk(K, dim=-1).indices)
        total += float((hits.sum(1) / truth.sum(1).clamp(min=1e-6)).sum())
        count += len(batch.users)
    return total / count


def by_distances(recommender: Recommender, bench: Bench) -> dict[str, float]:
    """Rank with NeuMF as where numba is not installed."""
    with mock.patch.object(relu_sums, "compiled", lambda: None):
        return recommender.evaluate(bench.all_users(BLOCK))


def ranking(bench: Bench, make: type[Backbone], d: int, threads: int) -> list[Row]:
    """Full ranking of all users for one backbone."""
    recommender = Recommender(make(bench.edges, d), BPR(), metrics=RankingMetrics((K,)))
    rivals: dict[str, Work] = {}
    floor: Work | None = None
    if make is LightGCN:
        users, items = recommender.network.encode()
        size = recommender.ranker.users_per_block()
        blocks = [block for batch in bench.all_users(BLOCK) for block in batch.users.split(size)]

        def floor() -> None:
            for block in blocks:
                torch.topk(users[block] @ items.T, K, dim=1)

        rivals["torch_geometric's example"] = lambda: example_loop(users, items, bench)
        expected, found = example_loop(users, items, bench), recommender.evaluate(bench.all_users(BLOCK))[f"recall@{K}"]
        if abs(expected - found) > 1e-6:
            raise AssertionError(f"ours ranks to recall {found}, the example to {expected}")
    if make is NeuMF:
        rivals["distances of torch.cdist"] = lambda: by_distances(recommender, bench)
    return compare(
        f"full ranking, {make.__name__}",
        lambda: recommender.evaluate(bench.all_users(BLOCK)),
        rivals,
        floor=floor,
        d=d,
        batch=BLOCK,
        threads=threads,
        rounds=min(3, bench.rounds),
        units=sum(len(batch.users) for batch in bench.all_users(BLOCK)),
    )


WORKS = {
    "full ranking, LightGCN": lambda bench, threads: ranking(bench, LightGCN, 64, threads),
    "full ranking, NeuMF": lambda bench, threads: ranking(bench, NeuMF, 128, threads),
}
