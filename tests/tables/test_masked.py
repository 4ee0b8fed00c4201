from __future__ import annotations

import numpy as np
import pytest
import torch

from bet_lightning.tables.masked import MaskedEmbedding


def make_table(num_rows: int = 6, max_size: int = 4) -> MaskedEmbedding:
    table = MaskedEmbedding(num_rows, max_size)
    torch.nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(0))
    return table


def mask_oracle(sizes: torch.Tensor, max_size: int) -> np.ndarray:
    mask = np.zeros((len(sizes), max_size), dtype=np.float32)
    for row, size in enumerate(sizes.tolist()):
        mask[row, :size] = 1
    return mask


SIZES = torch.tensor([0, 1, 4, 2, 3, 4])


def test_starts_with_the_full_table() -> None:
    table = make_table()
    assert torch.equal(table(), table.weight)
    assert table.num_used == 24


def test_prefix_mask_of_table_and_rows() -> None:
    table = make_table()
    table.set_sizes(SIZES)
    expected = table.weight.detach().numpy() * mask_oracle(SIZES, 4)
    rows = torch.tensor([3, 0, 3, 5])
    np.testing.assert_array_equal(table().detach().numpy(), expected)
    np.testing.assert_array_equal(table(rows).detach().numpy(), expected[rows.numpy()])
    assert table.num_used == 14


@pytest.mark.parametrize("rows", [None, torch.tensor([2, 1, 1, 0])])
def test_masked_entries_get_exactly_zero_gradient(rows: torch.Tensor | None) -> None:
    table = make_table()
    table.set_sizes(SIZES)
    (table(rows) + 1).square().sum().backward()
    mask = mask_oracle(SIZES, 4)
    counts = np.ones(6) if rows is None else np.bincount(rows.numpy(), minlength=6)
    expected = 2 * (table.weight.detach().numpy() + 1) * mask * counts[:, None]
    assert table.weight.grad is not None
    np.testing.assert_allclose(table.weight.grad.numpy(), expected, rtol=1e-6)
    assert (table.weight.grad.numpy()[mask == 0] == 0).all()


def test_masked_entries_are_zero_even_where_the_weight_is_not_finite() -> None:
    table = make_table()
    table.set_sizes(SIZES)
    with torch.no_grad():
        table.weight[0] = torch.inf
        table.weight[1, 1:] = torch.nan
    assert torch.isfinite(table()).all()


@pytest.mark.parametrize(("max_size", "dtype"), [(255, torch.uint8), (256, torch.int16), (300, torch.int16)])
def test_sizes_dtype_holds_the_largest_size(max_size: int, dtype: torch.dtype) -> None:
    table = MaskedEmbedding(3, max_size)
    torch.nn.init.ones_(table.weight)
    assert table.sizes.dtype == dtype
    table.set_sizes(torch.tensor([max_size, max_size - 1, 0]))
    assert table().sum(1).tolist() == [max_size, max_size - 1, 0]
    assert table.num_used == 2 * max_size - 1


def test_state_dict_round_trip_and_no_new_parameters() -> None:
    table = make_table()
    buffer = table.sizes
    table.set_sizes(SIZES)
    assert table.sizes is buffer
    assert [name for name, _ in table.named_parameters()] == ["weight"]
    other = MaskedEmbedding(6, 4)
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.sizes, table.sizes)
    assert torch.equal(other(), table())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (torch.ones(5, dtype=torch.long), r"sizes must have shape \(6,\), got \(5,\)"),
        (torch.ones(6), "sizes must be integers, got torch.float32"),
        (torch.ones(6, dtype=torch.bool), "sizes must be integers, got torch.bool"),
        (torch.tensor([0, 0, 0, 0, 0, 5]), r"sizes must be in 0\.\.4, got 0\.\.5"),
        (torch.tensor([-1, 0, 0, 0, 0, 4]), r"sizes must be in 0\.\.4, got -1\.\.4"),
    ],
)
def test_refuses_wrong_sizes_and_keeps_the_old_ones(sizes: torch.Tensor, message: str) -> None:
    table = make_table()
    with pytest.raises(ValueError, match=message):
        table.set_sizes(sizes)
    assert table.num_used == 24


@pytest.mark.parametrize(("num_rows", "max_size"), [(0, 4), (3, 0), (3, 32768)])
def test_refuses_wrong_shapes(num_rows: int, max_size: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        MaskedEmbedding(num_rows, max_size)


def test_repr() -> None:
    table = make_table()
    table.set_sizes(SIZES)
    assert str(table) == "MaskedEmbedding(6, max_size=4, used=14)"


@pytest.mark.parametrize("sizes", [[3, 0, 1], [2, 2, 2], [0, 0, 0], [5, 5, 5], [5, 1, 2]])
def test_narrow_leaves_out_unused_columns(sizes: list[int]) -> None:
    table = MaskedEmbedding(3, 5)
    torch.nn.init.normal_(table.weight)
    table.set_sizes(torch.tensor(sizes))
    width = max(1, *sizes)
    rows = torch.tensor([2, 0, 2])
    assert table.narrow().equal(table()[:, :width])
    assert table.narrow(rows).equal(table(rows)[:, :width])
    weight = torch.randn(3, width)
    (grad,) = torch.autograd.grad((table.narrow() * weight).sum(), table.weight)
    (expected,) = torch.autograd.grad((table()[:, :width] * weight).sum(), table.weight)
    assert grad.equal(expected)
