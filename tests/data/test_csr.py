import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bet_lightning.data import Csr

dense_matrices = hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 7)))


def from_dense(dense: np.ndarray) -> Csr:
    rows, cols = np.nonzero(dense)
    return Csr.from_pairs(rows[::-1], cols[::-1], *dense.shape)


def to_dense(csr: Csr) -> np.ndarray:
    dense = np.zeros((csr.num_rows, csr.num_cols), dtype=bool)
    for row in range(csr.num_rows):
        dense[row, csr.indices[csr.indptr[row] : csr.indptr[row + 1]]] = True
    return dense


@given(dense_matrices)
def test_matches_dense(dense):
    csr = from_dense(dense)
    assert csr.indptr.dtype == csr.indices.dtype == np.int64
    np.testing.assert_array_equal(to_dense(csr), dense)
    np.testing.assert_array_equal(csr.rows(), np.nonzero(dense)[0])
    np.testing.assert_array_equal(csr.indices, np.nonzero(dense)[1])
    np.testing.assert_array_equal(csr.degrees(), dense.sum(axis=1))
    np.testing.assert_array_equal(csr.column_degrees(), dense.sum(axis=0))
    assert csr.column_degrees().dtype == np.int64
    assert csr.nnz == dense.sum()


@given(dense_matrices, st.data())
def test_select_matches_dense(dense, data):
    row_ids = np.array(data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=9)), dtype=np.int64)
    rows, cols = from_dense(dense).select(row_ids)
    expected_rows, expected_cols = np.nonzero(dense[row_ids])
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(cols, expected_cols)


@given(st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(lambda s: hnp.arrays(np.bool_, (2, *s))))
def test_union_and_difference_match_dense(pair):
    first, second = from_dense(pair[0]), from_dense(pair[1])
    np.testing.assert_array_equal(to_dense(first.union(second)), pair[0] | pair[1])
    np.testing.assert_array_equal(to_dense(first.difference(second)), pair[0] & ~pair[1])


def test_repeated_pairs_are_merged():
    csr = Csr.from_pairs(np.array([1, 0, 1, 1]), np.array([2, 0, 2, 1]), 3, 3)
    assert csr.indptr.tolist() == [0, 1, 3, 3]
    assert csr.indices.tolist() == [0, 1, 2]
    assert repr(csr) == "Csr(3 x 3, nnz=3)"


def test_empty_matrix():
    csr = Csr.from_pairs(np.empty(0, np.int64), np.empty(0, np.int64), 2, 3)
    assert csr.nnz == 0
    assert csr.select(np.array([1, 0]))[0].size == 0


@pytest.mark.parametrize(
    ("rows", "cols", "message"),
    [([3], [0], r"row 3 lies outside \[0, 3\)"), ([0], [-1], r"column -1 lies outside \[0, 2\)")],
)
def test_out_of_range(rows, cols, message):
    with pytest.raises(ValueError, match=message):
        Csr.from_pairs(np.array(rows), np.array(cols), 3, 2)


def test_union_of_other_shape():
    with pytest.raises(ValueError, match=r"shapes \(1, 2\) and \(1, 3\)"):
        from_dense(np.ones((1, 2), bool)).union(from_dense(np.ones((1, 3), bool)))
