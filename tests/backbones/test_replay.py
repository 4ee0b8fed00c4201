"""Replay of a recorded LightGCN-PyTorch training run (needs the data folder with ml-1m and replay)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import Edges, LightGCN
from bet_lightning.ranking import RankingMetrics, top_k_items

DATA_DIR = Path(os.environ.get("BET_DATA_DIR", ""))
RECORD = DATA_DIR / "replay" / "ml-1m_lightgcn.npz"
pytestmark = pytest.mark.skipif(
    "BET_DATA_DIR" not in os.environ or not RECORD.is_file(),
    reason="BET_DATA_DIR does not name a folder with replay/ml-1m_lightgcn.npz",
)
NUM_USERS, NUM_ITEMS = 6039, 3628


def read_pairs(name: str) -> tuple[Tensor, Tensor]:
    lines = [np.array(line.split(), dtype=np.int64) for line in (DATA_DIR / "ml-1m" / name).open()]
    users = np.repeat([line[0] for line in lines], [len(line) - 1 for line in lines])
    items = np.concatenate([line[1:] for line in lines])
    order = np.lexsort((items, users))
    return torch.from_numpy(users[order]), torch.from_numpy(items[order])


def replay(num_steps: int) -> tuple[LightGCN, dict[str, float]]:
    """Train on the recorded triplets from the recorded start; return the model and its test metrics."""
    record = np.load(RECORD)
    train, test = read_pairs("train.txt"), read_pairs("test.txt")
    model = LightGCN(Edges(*train, NUM_USERS, NUM_ITEMS), max_size=64, num_layers=3)
    start = np.concatenate([record["init_user"], record["init_item"]])
    model.table().weight.data.copy_(torch.from_numpy(start))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    epochs = (torch.from_numpy(record[f"triplets_epoch{epoch}"].astype(np.int64)) for epoch in range(2))
    batches = [batch for epoch in epochs for batch in epoch.split(2048)]
    for batch in batches[:num_steps]:
        pos_scores, neg_scores, regularizer = model(*batch.unbind(1))
        loss = torch.nn.functional.softplus(neg_scores - pos_scores).mean() + 1e-4 * regularizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoded, metric = model.encode(), RankingMetrics((20,))
    for users in torch.arange(NUM_USERS).split(2048):
        seen, wanted = ((pairs[0] >= users[0]) & (pairs[0] <= users[-1]) for pairs in (train, test))
        scores = model.score(encoded, users)
        _, top_items = top_k_items(scores, train[0][seen] - users[0], train[1][seen], 20)
        metric.update(top_items, test[0][wanted] - users[0], test[1][wanted], NUM_ITEMS)
    return model, {name: float(value) for name, value in metric.compute().items()}


def test_ten_steps_reach_the_recorded_metrics() -> None:
    _, metrics = replay(10)
    assert metrics["recall@20"] == pytest.approx(0.007284, abs=1e-5)
    assert metrics["ndcg@20"] == pytest.approx(0.011851, abs=1e-5)


@pytest.mark.slow
def test_two_epochs_end_at_the_recorded_weights_and_metrics() -> None:
    model, metrics = replay(574)
    record = np.load(RECORD)
    expected = torch.from_numpy(np.concatenate([record["final_user"], record["final_item"]]))
    weight = model.table().weight.detach()
    assert float((weight - expected).norm() / expected.norm()) < 2e-6
    assert metrics["recall@20"] == pytest.approx(0.117764, abs=1e-5)
    assert metrics["ndcg@20"] == pytest.approx(0.162419, abs=1e-5)
