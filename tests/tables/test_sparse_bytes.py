"""Bytes of values at any positions."""

from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.tables.sparse_bytes import most_values, sparse_bytes


def test_bytes_counted_by_hand() -> None:
    assert sparse_bytes(5, 3, 3) == 5 * 4 + 2  # nine bits are two bytes
    assert sparse_bytes(10, 10, 64) == 10 * 4 + 10 + 10  # a column a value and a count a row
    assert sparse_bytes(600, 10, 64) == 600 * 4 + 80  # a bit a value of the full table
    assert sparse_bytes(10, 10, 255) == 10 * 4 + 10 + 10
    assert sparse_bytes(10, 10, 256) == 10 * 4 + 10 + 2 * 10  # 256 values a row are one too many for a byte
    assert sparse_bytes(10, 10, 257) == 10 * 4 + 2 * 10 + 2 * 10


@given(num_bytes=st.integers(0, 4000), rows=st.integers(1, 30), columns=st.sampled_from([1, 8, 30, 256, 300]))
def test_as_many_values_as_bytes_allow(num_bytes: int, rows: int, columns: int) -> None:
    fitting = [count for count in range(1, rows * columns + 1) if sparse_bytes(count, rows, columns) <= num_bytes]
    assert most_values(num_bytes, rows, columns) == max(fitting, default=0)
