from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bet_lightning.ranking import top_k_items
from bet_lightning.ranking.topk import top_k


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_items=st.integers(1, 12), density=st.floats(0, 1), data=st.data())
def test_equals_sorting_the_unseen_items(seed: int, num_items: int, density: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, num_items))
    rng = np.random.default_rng(seed)
    scores = rng.permutation(4 * num_items).reshape(4, num_items).astype(np.float32) - 2 * num_items
    seen = rng.random((4, num_items)) < density
    seen_rows, seen_items = (torch.from_numpy(index) for index in seen.nonzero())
    values, items = top_k_items(torch.from_numpy(scores.copy()), seen_rows, seen_items, k)
    for row in range(4):
        best = [item for item in np.argsort(-scores[row]) if not seen[row, item]][:k]
        assert items[row].tolist() == best + [-1] * (k - len(best))
        assert values[row].tolist() == scores[row, best].tolist() + [-np.inf] * (k - len(best))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num_items=st.integers(256, 1500), k=st.integers(1, 6), levels=st.integers(1, 2000))
def test_blocks_are_searched_as_all_columns_are(seed: int, num_items: int, k: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (3, num_items), generator=generator).float()  # few levels: many equal scores
    scores[0, torch.randperm(num_items, generator=generator)[k - 1 :]] = -torch.inf  # fewer than k are left
    values, columns = top_k(scores, k)
    assert values.equal(torch.topk(scores, k, dim=1).values)
    assert values.equal(scores.gather(1, columns))
    assert all(len(set(row)) == k for row in columns.tolist())


def test_repeated_seen_pairs_and_the_overwritten_scores() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    _, items = top_k_items(scores, torch.tensor([0, 0]), torch.tensor([1, 1]), 2)
    assert items.tolist() == [[2, 0]]
    assert scores.tolist() == [[1.0, -torch.inf, 2.0]]


@pytest.mark.parametrize("k", [0, 4])
def test_refuses_wrong_k(k: int) -> None:
    none = torch.empty(0, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"k must be in 1\.\.3 \(the number of items\), got {k}"):
        top_k_items(torch.zeros(2, 3), none, none, k)
