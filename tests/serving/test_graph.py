import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.serving import graph
from bet_lightning.serving.graph import Graph, Neighbours, as_pairs, from_pairs, has_pairs, pack_pairs, unpack_pairs

MATRICES = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))


def draw(shape: tuple[int, int, int]) -> tuple[np.ndarray, Neighbours]:
    """A random binary matrix, dense and as neighbours."""
    rows, cols, seed = shape
    dense = np.random.default_rng(seed).random((rows, cols)) < 0.4
    arrays = pack_pairs("p", dense.sum(1), np.nonzero(dense)[1], cols)
    return dense, unpack_pairs("p", arrays, rows, cols)


def as_dense(pairs: Neighbours) -> np.ndarray:
    dense = np.zeros((len(pairs.counts), pairs.num_cols), bool)
    dense[pairs.of(np.arange(len(dense)))] = True
    return dense


@given(MATRICES, st.sampled_from([1, 3, 100]))
def test_products_are_those_of_the_dense_matrix(shape: tuple[int, int, int], at_once: int) -> None:
    dense, pairs = draw(shape)
    values = np.random.default_rng(0).random((2, dense.shape[1]), np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(graph, "_EDGES_AT_ONCE", at_once)
        np.testing.assert_allclose(pairs.sum(values), values @ dense.T, rtol=1e-6)
        assert np.array_equal(as_dense(pairs.transpose()), dense.T)
        kept = np.random.default_rng(1).random(dense.shape[1]) < 0.5
        assert np.array_equal(as_dense(pairs.among(kept)), dense & kept)


@given(MATRICES)
def test_neighbours_of_some_rows(shape: tuple[int, int, int]) -> None:
    dense, pairs = draw(shape)
    rows = np.array([len(dense) - 1, 0, 0])
    found = np.zeros((3, dense.shape[1]), bool)
    found[pairs.of(rows)] = True
    assert np.array_equal(found, dense[rows])
    taken = pairs.take(rows)
    assert np.array_equal(as_dense(taken), dense[rows])
    columns = np.flatnonzero(dense[rows].any(0))
    assert np.array_equal(as_dense(taken.renumbered(columns)), dense[rows][:, columns])


@given(st.integers(1, 5))
def test_pairs_of_columns_come_back(num_columns: int) -> None:
    values = np.random.default_rng(0).random((num_columns, 7), np.float32)
    assert np.array_equal(from_pairs(as_pairs(values), num_columns), values)


@given(MATRICES)
def test_the_graph_is_normalized(shape: tuple[int, int, int]) -> None:
    dense, pairs = draw(shape)
    degrees = np.maximum(dense.sum(1), 1)[:, None] ** 0.5, np.maximum(dense.sum(0), 1) ** 0.5
    normalized = dense / degrees[0] / degrees[1]
    users, items = (np.random.default_rng(n).random((2, size), np.float32) for n, size in enumerate(dense.shape))
    of_users, of_items = Graph(pairs).product(users, items)
    np.testing.assert_allclose(of_users, items @ normalized.T, rtol=1e-5)
    np.testing.assert_allclose(of_items, users @ normalized, rtol=1e-5)


@pytest.mark.parametrize(
    ("counts", "items", "message"),
    [
        ([1], [0], "other rows"),
        ([1, 2], [0, 1], "other rows"),
        ([1, 1], [0, 3], "other rows"),
        ([0, 2], [1, 1], "not sorted"),
        ([0, 2], [2, 1], "not sorted"),
    ],
)
def test_unsound_pairs_of_version_1_are_refused(counts: list[int], items: list[int], message: str) -> None:
    arrays = {"p.counts": np.array(counts, np.uint8), "p.items": np.array(items, np.uint8)}
    with pytest.raises(ValueError, match=f"p has .*{message}"):
        unpack_pairs("p", arrays, 2, 3)


@pytest.mark.parametrize(("num_rows", "num_cols"), [(1, 3), (3, 3), (2, 2)])
def test_pairs_of_other_rows_or_columns_are_refused(num_rows: int, num_cols: int) -> None:
    arrays = pack_pairs("p", np.array([1, 2]), np.array([1, 0, 2]), 3)
    with pytest.raises(ValueError, match="p has other rows or columns than the table"):
        unpack_pairs("p", arrays, num_rows, num_cols)


def test_pairs_are_told_from_those_of_version_1_by_name() -> None:
    plain = {"p.counts": np.array([1, 2], np.uint8), "p.items": np.array([1, 0, 2], np.uint8)}
    packed = pack_pairs("p", np.array([1, 2]), np.array([1, 0, 2]), 3)
    assert has_pairs("p", plain) and has_pairs("p", packed) and not has_pairs("q", plain | packed)
    assert np.array_equal(as_dense(unpack_pairs("p", plain, 2, 3)), as_dense(unpack_pairs("p", packed, 2, 3)))
