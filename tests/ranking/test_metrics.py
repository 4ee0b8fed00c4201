from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.metrics import LinkPredNDCG, LinkPredRecall

from bet_lightning.ranking import RankingMetrics, hits_at_k, quality, recall_ndcg, top_k_items

KS = (1, 3, 5)
Case = tuple[Tensor, Tensor, Tensor, int]


def make_case(seed: int, num_rows: int = 6, num_items: int = 8) -> Case:
    """Random lists (some with fewer than five unseen items) and targets (some rows without)."""
    rng = np.random.default_rng(seed)
    seen = rng.random((num_rows, num_items)) < rng.random((num_rows, 1))
    targets = ~seen & (rng.random((num_rows, num_items)) < rng.random((num_rows, 1)))
    seen_rows, seen_items = (torch.from_numpy(index) for index in seen.nonzero())
    scores = torch.from_numpy(rng.random((num_rows, num_items)))
    _, top_items = top_k_items(scores, seen_rows, seen_items, max(KS))
    target_rows, target_items = (torch.from_numpy(index) for index in targets.nonzero())
    return top_items, target_rows, target_items, num_items


def oracle(top_items: Tensor, target_rows: Tensor, target_items: Tensor, _: int) -> dict[str, float]:
    values: dict[str, list[float]] = {f"{name}@{k}": [] for name in ("recall", "ndcg") for k in KS}
    for row, items in enumerate(top_items.tolist()):
        wanted = set(target_items[target_rows == row].tolist())
        if wanted:
            for k in KS:
                gains = [1 / math.log2(rank + 2) for rank, item in enumerate(items[:k]) if item in wanted]
                ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(wanted))))
                values[f"recall@{k}"].append(len(gains) / len(wanted))
                values[f"ndcg@{k}"].append(sum(gains) / ideal)
    return {name: float(np.mean(value)) if value else math.nan for name, value in values.items()}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_equals_the_oracle_and_torch_geometric(seed: int) -> None:
    case = make_case(seed)
    metric = RankingMetrics(KS)
    metric.update(*case)
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(oracle(*case), abs=1e-12, nan_ok=True)
    assert metric.num_users == case[1].unique().numel()
    if metric.num_users:
        # torch_geometric would read -1 as the last item of the row above: give it an item nobody wants
        listed = case[0].where(case[0] >= 0, case[3])
        for k in KS:
            for name, reference in (("recall", LinkPredRecall(k)), ("ndcg", LinkPredNDCG(k))):
                reference.update(listed, torch.stack(case[1:3]))
                assert values[f"{name}@{k}"] == pytest.approx(float(reference.compute()), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 5))
def test_adds_up_over_batches(seed: int, cut: int) -> None:
    top_items, target_rows, target_items, num_items = make_case(seed)
    whole, parts = RankingMetrics(KS), RankingMetrics(KS)
    whole.update(top_items, target_rows, target_items, num_items)
    first = target_rows < cut
    parts.update(top_items[:cut], target_rows[first], target_items[first], num_items)
    parts.update(top_items[cut:], target_rows[~first] - cut, target_items[~first], num_items)
    for name, value in whole.compute().items():
        torch.testing.assert_close(parts.compute()[name], value, equal_nan=True)


def test_absent_items_are_never_hits() -> None:
    # The key of -1 in row 1 is that of the last item of row 0, which is a target.
    top_items = torch.tensor([[3, -1], [-1, -1]])
    hits = hits_at_k(top_items, torch.tensor([0]), torch.tensor([3]), num_items=4)
    assert hits.tolist() == [[True, False], [False, False]]


def test_per_user_values_read_zero_without_targets() -> None:
    hits = torch.tensor([[True, False, True], [False, False, False]])
    values = recall_ndcg(hits, torch.tensor([4, 0]), (1, 3))
    assert values["recall@3"].tolist() == [0.5, 0.0]
    ideal = 1 + 1 / math.log2(3) + 0.5
    assert values["ndcg@3"].tolist() == pytest.approx([1.5 / ideal, 0.0])
    assert values["ndcg@1"].dtype == torch.float64


def test_metric_names_states_and_reset() -> None:
    metric = RankingMetrics()
    names = ["recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20"]
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        assert list(metric.compute()) == names
    assert metric.sums.dtype == torch.float64
    metric = RankingMetrics(KS)
    metric.update(*make_case(0))
    before = metric.compute()
    metric.update(*make_case(1))
    assert metric.compute() != before
    metric.reset()
    metric.update(*make_case(0))
    assert metric.compute() == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RankingMetrics(()), "ks must be cut-offs of at least 1"),
        (lambda: RankingMetrics((0, 5)), "ks must be cut-offs of at least 1"),
        (lambda: RankingMetrics((9,)).update(*make_case(0)), r"ks must be in 1\.\.5"),
        (lambda: hits_at_k(torch.zeros(2, 1).long(), torch.tensor([1, 0]), torch.tensor([0, 0]), 3), "sorted"),
        (lambda: hits_at_k(torch.zeros(2, 1).long(), torch.tensor([0, 0]), torch.tensor([0, 0]), 3), "unique"),
        (lambda: quality({"loss": 1.0}), "metrics must hold recall@k or ndcg@k"),
    ],
)
def test_refuses_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_quality_is_the_mean_over_cutoffs_and_both_measures() -> None:
    metrics = {"recall@5": 0.1, "ndcg@5": 0.3, "recall@10": 0.2, "ndcg@10": 0.6, "loss": 9.0}
    assert quality(metrics) == pytest.approx(((0.1 + 0.3) / 2 + (0.2 + 0.6) / 2) / 2)
