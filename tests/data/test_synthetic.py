import numpy as np
import pytest

from bet_lightning.data import Csr, make_synthetic


def recall(scores: np.ndarray, seen: np.ndarray, targets: Csr, k: int = 20) -> float:
    top = np.argsort(np.where(seen, -np.inf, scores), axis=1)[:, -k:]
    relevant = np.zeros(seen.shape, dtype=bool)
    relevant[targets.rows(), targets.indices] = True
    hits, counts = np.take_along_axis(relevant, top, axis=1).sum(axis=1), relevant.sum(axis=1)
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def test_sizes_and_seed():
    data = make_synthetic(100, 80, 900, seed=1)
    assert len(data.users) == 900
    assert len(data.user_ids) == 100 and len(data.item_ids) == 80
    assert len(set(zip(data.users, data.items, strict=True))) == 900
    again, other = make_synthetic(100, 80, 900, seed=1), make_synthetic(100, 80, 900, seed=2)
    np.testing.assert_array_equal(data.items, again.items)
    assert not np.array_equal(data.items, other.items)


def test_popularity_is_long_tailed():
    data = make_synthetic(500, 400, 10_000)
    for column in (data.users, data.items):
        counts = np.sort(np.bincount(column))[::-1]
        assert counts[: len(counts) // 10].sum() > 0.2 * counts.sum()
        assert counts[0] > 3 * np.median(counts)


def test_factors_beat_popularity(small_split):
    seen = np.zeros((small_split.num_users, small_split.num_items), dtype=bool)
    seen[small_split.train.rows(), small_split.train.indices] = True
    left, values, right = np.linalg.svd(seen.astype(float), full_matrices=False)
    factors = (left[:, :12] * values[:12]) @ right[:12]
    popularity = np.broadcast_to(small_split.item_frequency.astype(float), seen.shape)
    assert recall(factors, seen, small_split.test) > 1.3 * recall(popularity, seen, small_split.test)


def test_densest_set_allowed():
    assert len(make_synthetic(20, 20, 100, rank=2).users) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 10), "data.synthetic_users must be at least 1, got 0"),
        ((10, 3, 10), "data.synthetic_items must be at least 4, got 3"),
        ((10, 10, 0), "data.synthetic_interactions must be at least 1, got 0"),
        ((10, 10, 26), "data.synthetic_interactions must be at most 25, got 26"),
        ((10, 10, 10, 1), "rank must be at least 2, got 1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_synthetic(*arguments)
