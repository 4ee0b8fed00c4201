import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.tables import build_table
from bet_lightning.tables.sparse import SparseTable, most_values, sparse_bytes

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


def test_reads_what_it_keeps_and_trains_nothing_else() -> None:
    values = torch.arange(1.0, 10.0).view(3, 3)
    table = SparseTable.from_values(values, MASK)
    assert table().equal(values * MASK) and table.num_used == 5
    rows = torch.tensor([2, 0, 2])
    assert table(rows).equal((values * MASK)[rows])
    table().sum().backward()
    assert table.weight.grad is not None and table.weight.grad.equal(MASK.float())


def test_comes_back_from_its_description() -> None:
    table = SparseTable.from_values(torch.randn(3, 3), MASK)
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert isinstance(again, SparseTable) and again().equal(table()) and again.num_bytes == table.num_bytes


def test_bytes_counted_by_hand() -> None:
    assert SparseTable.from_values(torch.ones(3, 3), MASK).num_bytes == 5 * 4 + 2  # nine bits are two bytes
    assert sparse_bytes(10, 10, 64) == 10 * 4 + 10 + 10  # a column a value and a count a row
    assert sparse_bytes(600, 10, 64) == 600 * 4 + 80  # a bit a value of the full table
    assert sparse_bytes(10, 10, 255) == 10 * 4 + 10 + 10
    assert sparse_bytes(10, 10, 256) == 10 * 4 + 10 + 2 * 10  # 256 values a row are one too many for a byte
    assert sparse_bytes(10, 10, 257) == 10 * 4 + 2 * 10 + 2 * 10


@given(num_bytes=st.integers(0, 4000), rows=st.integers(1, 30), columns=st.sampled_from([1, 8, 30, 256, 300]))
def test_as_many_values_as_bytes_allow(num_bytes: int, rows: int, columns: int) -> None:
    fitting = [count for count in range(1, rows * columns + 1) if sparse_bytes(count, rows, columns) <= num_bytes]
    assert most_values(num_bytes, rows, columns) == max(fitting, default=0)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(RuntimeError):
        SparseTable.from_values(torch.ones(3, 3), torch.ones(2, 2, dtype=torch.bool))
