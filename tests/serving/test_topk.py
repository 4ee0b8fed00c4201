import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.serving.topk import top_k


@given(st.integers(1, 4), st.sampled_from([1, 5, 64, 200, 1_000, 1_023]), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_equals_sorting_everything(rows: int, cols: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.permuted(np.tile(np.arange(cols, dtype=np.float32), (rows, 1)), axis=1)
    scores[generator.random(scores.shape) < 0.3] = -np.inf
    k = min(k, cols)
    columns, best = top_k(scores, k)
    assert np.array_equal(best, -np.sort(-scores, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(scores, columns, axis=1), best)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_of_equal_scores_the_first_column_comes_first() -> None:
    columns, _ = top_k(np.array([[1, 3, 3, 2, 3]], np.float32), 4)
    assert columns.tolist() == [[1, 2, 4, 3]]
