import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.dtypes import Dtype
from bet_lightning.serving.rows import PackedRows, row_order, to_float


def padded(sizes: np.ndarray, width: int) -> np.ndarray:
    """Every row's values, distinct and not zero, one row after another."""
    table = np.arange(1, len(sizes) * width + 1, dtype=np.float32).reshape(len(sizes), width)
    return np.where(np.arange(width) < sizes[:, None], table, 0)


def packed(table: np.ndarray, sizes: np.ndarray) -> PackedRows:
    order = row_order(sizes)
    return PackedRows(np.concatenate([table[row, : sizes[row]] for row in order]), sizes, order)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.data())
def test_reads_what_a_padded_table_has(sizes: list[int], data: st.DataObject) -> None:
    counts = np.array(sizes)
    table = padded(counts, 9)
    rows = packed(table, counts)
    assert len(rows) == len(sizes) and rows.width == max(sizes)
    some = np.array(data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=20)), np.int64)
    assert np.array_equal(rows.gather(some), table[some, : rows.width])
    start = data.draw(st.integers(0, 8))
    stop = data.draw(st.integers(start + 1, 9))
    assert np.array_equal(rows.columns(start, stop), table[:, start:stop].T)


def test_a_group_is_a_view_of_the_file() -> None:
    sizes = np.array([2, 0, 3, 2])
    rows = packed(padded(sizes, 3), sizes)
    groups = list(rows.groups())
    assert [(group.places, group.values.shape) for group in groups] == [(slice(0, 1), (1, 3)), (slice(1, 3), (2, 2))]
    assert list(rows.order) == [2, 0, 3, 1] and list(rows.place) == [1, 3, 0, 2]
    assert all(group.values.base is not None for group in groups)


@pytest.mark.parametrize(("dtype", "bits"), [("fp16", 0x3E00), ("bf16", 0x3FC0)])
def test_reads_half_precision(dtype: Dtype, bits: int) -> None:
    stored = np.array([bits], np.uint16)
    assert to_float(stored.view(np.float16) if dtype == "fp16" else stored, dtype) == 1.5


def test_scales_are_in_the_order_of_the_file() -> None:
    sizes, order = np.array([1, 2]), np.array([1, 0], np.int32)
    rows = PackedRows(np.array([3, 4, 5], np.int8), sizes, order, "int8", np.array([10, 100], np.float16))
    assert rows.gather(np.array([0, 1])).tolist() == [[500, 0], [30, 40]]
    assert rows.columns(0, 2).tolist() == [[500, 30], [0, 40]]
