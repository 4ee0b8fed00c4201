import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.tables.prefixes import index_dtype, pack, runs, unpack

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@given(sizes=SIZES)
def test_packs_the_beginning_of_every_row_and_unpacks_it_before_zeros(sizes: list[int]) -> None:
    table = torch.rand(len(sizes), 5, generator=torch.Generator().manual_seed(0)) + 1
    values = pack(table, torch.tensor(sizes))
    assert values.tolist() == [value for row, size in zip(table.tolist(), sizes, strict=True) for value in row[:size]]
    expected = [row[:size] + [0.0] * (5 - size) for row, size in zip(table.tolist(), sizes, strict=True)]
    assert unpack(values, torch.tensor(sizes, dtype=torch.uint8), 5).tolist() == expected


@given(rows=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 6)), min_size=1, max_size=20))
def test_runs_count_up_from_the_first_of_every_row(rows: list[tuple[int, int]]) -> None:
    firsts, sizes = (torch.tensor(side) for side in zip(*rows, strict=True))
    expected = [first + place for first, size in rows for place in range(size)]
    assert runs(firsts, sizes, len(expected)).tolist() == expected
    assert runs(firsts.int(), sizes.to(torch.uint8), len(expected)).dtype == torch.int32


def test_every_value_has_the_gradient_of_its_place() -> None:
    values = torch.zeros(4, requires_grad=True)
    weights = torch.arange(9.0).view(3, 3)
    (unpack(values, torch.tensor([1, 0, 3]), 3) * weights).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [0.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(("count", "dtype"), [(2**31 - 1, torch.int32), (2**31, torch.int64)])
def test_indices_are_no_wider_than_they_must_be(count: int, dtype: torch.dtype) -> None:
    assert index_dtype(count) == dtype
