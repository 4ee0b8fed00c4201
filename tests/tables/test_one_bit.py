import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.tables import build_table
from bet_lightning.tables.one_bit import OneBitTable, most_columns, one_bit_bytes

USERS, ITEMS, SIZE, COLUMNS = 4, 3, 6, 5


def make_table(by_row: bool) -> tuple[OneBitTable, torch.Tensor]:
    values = torch.randn(USERS + ITEMS, SIZE, generator=torch.Generator().manual_seed(0)) * 0.1
    table = OneBitTable(USERS, ITEMS, SIZE, COLUMNS, by_row)
    table.fit(values)
    return table, values


@pytest.mark.parametrize("by_row", [False, True])
def test_reads_as_signs_times_the_mean_size(by_row: bool) -> None:
    table, values = make_table(by_row)
    kept = values[:, :COLUMNS].double().numpy()
    if by_row:
        scales = np.abs(kept).mean(1)
        codes = np.round((6 - np.log2(scales)) * 12)  # what a byte says
        scales = 2 ** (6 - codes / 12)
    else:
        scales = np.repeat([np.abs(kept[:USERS]).mean(), np.abs(kept[USERS:]).mean()], [USERS, ITEMS])
    found = table().detach().numpy()
    np.testing.assert_allclose(found[:, :COLUMNS], np.where(kept < 0, -1, 1) * scales[:, None], rtol=1e-5)
    assert (found[:, COLUMNS:] == 0).all()
    assert len(np.unique(np.abs(found[:, :COLUMNS]))) == len(np.unique(scales))
    rows = torch.tensor([6, 0, 6, 3])
    assert table(rows).equal(table()[rows]) and table.narrow(rows).equal(table()[rows, :COLUMNS])


def test_the_mean_size_is_the_scale_of_least_error() -> None:
    table, values = make_table(False)

    def error() -> float:
        return float((table().detach() - values)[:, :COLUMNS].square().sum())

    best = error()
    for change in (-0.1, 0.1):
        with torch.no_grad():
            table.log_scales.add_(change)
        assert error() > best
        with torch.no_grad():
            table.log_scales.sub_(change)


def test_zero_counts_as_positive() -> None:
    table = OneBitTable(1, 1, 2, 2)
    table.fit(torch.tensor([[0.0, -1.0], [0.0, 3.0]]))
    assert table().tolist() == [[0.5, -0.5], [1.5, 1.5]]


@pytest.mark.parametrize("by_row", [False, True])
def test_gradients_pass_the_signs_and_train_the_scales(by_row: bool) -> None:
    table, values = make_table(by_row)
    slope = torch.randn(USERS + ITEMS, SIZE)
    (table() * slope).sum().backward()
    assert table.weight.grad is not None and table.weight.grad.equal(slope[:, :COLUMNS])
    assert table.log_scales.grad is not None and (table.log_scales.grad != 0).all()
    with torch.no_grad():
        table.weight.sub_(values[:, :COLUMNS] * 2)
    assert (table()[:, :COLUMNS].sign() == -values[:, :COLUMNS].sign()).all()


def test_bytes_counted_by_hand() -> None:
    assert make_table(False)[0].num_bytes == 2 * 4 + 8  # 35 bits are two words; two scales
    assert make_table(True)[0].num_bytes == 2 * 4 + 7  # a byte a row
    assert make_table(True)[0].num_used == 35


@given(num_bytes=st.integers(0, 3000), rows=st.integers(1, 60), by_row=st.booleans())
def test_as_many_columns_as_bytes_allow(num_bytes: int, rows: int, by_row: bool) -> None:
    most = most_columns(num_bytes, rows, by_row)
    assert most == 0 or one_bit_bytes(rows, most, by_row) <= num_bytes
    assert one_bit_bytes(rows, most + 1, by_row) > num_bytes


@pytest.mark.parametrize("by_row", [False, True])
def test_comes_back_from_its_description(by_row: bool) -> None:
    table, _ = make_table(by_row)
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert again().equal(table()) and again.num_bytes == table.num_bytes


def test_draws_signs_of_what_the_backbone_draws() -> None:
    table, _ = make_table(False)
    table.reset_parameters(lambda values: values.data.fill_(-0.25))
    assert table().equal(torch.cat([torch.full((7, COLUMNS), -0.25), torch.zeros(7, 1)], 1))


def test_refuses_columns_out_of_range() -> None:
    for columns in (0, 7):
        with pytest.raises(ValueError, match=rf"columns must be in 1\.\.6, got {columns}"):
            OneBitTable(USERS, ITEMS, SIZE, columns)
