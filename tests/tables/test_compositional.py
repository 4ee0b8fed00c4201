import pytest
import torch
from torch import Tensor

from bet_lightning.tables import build_table
from bet_lightning.tables.compositional import ComplementaryTable, CompositionalTable
from bet_lightning.tables.soft_threshold import PrunedTable, SoftThresholdTable

ROWS, COLUMNS, BUCKETS = 11, 4, 4


def fill(values: Tensor) -> None:
    values.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))


def pruned(num_rows: int = ROWS, buckets: int = BUCKETS) -> CompositionalTable:
    mask = torch.rand(2 * buckets, COLUMNS, generator=torch.Generator().manual_seed(1)) < 0.5
    table = CompositionalTable(num_rows, PrunedTable(2 * buckets, COLUMNS, mask))
    table.reset_parameters(fill)
    return table


def learned(weight: float = 1.0) -> ComplementaryTable:
    table = ComplementaryTable(ROWS, SoftThresholdTable(2 * BUCKETS, COLUMNS, initial=-4.0), weight)
    table.reset_parameters(fill)
    return table


@pytest.mark.parametrize("table", [pruned(), learned()], ids=["pruned", "learned"])
def test_every_row_is_a_sum_of_what_is_left_of_two_rows(table: CompositionalTable) -> None:
    meta = table.meta().detach()
    found = table().detach()
    for row in range(ROWS):
        torch.testing.assert_close(found[row], meta[row % 4] + meta[4 + row // 3])  # ceil(11 / 4) = 3 rows share a Q
    rows = torch.tensor([10, 0, 3, 3])
    assert table(rows).equal(table()[rows])


@pytest.mark.parametrize(("num_rows", "buckets"), [(9, 3), (100, 10), (90, 10), (101, 11), (7, 7)])
def test_no_two_rows_add_up_the_same_where_buckets_are_the_root_of_the_rows(num_rows: int, buckets: int) -> None:
    first, second = pruned(num_rows, buckets).terms(torch.arange(num_rows))
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) == num_rows
    assert first.min() >= 0 and first.max() < buckets <= second.min() and second.max() < 2 * buckets


def test_only_entries_that_are_left_count() -> None:
    table = pruned()
    assert table.num_used == int(table.meta().count_nonzero()) == table.meta.num_used
    assert table.num_bytes == 4 * table.num_used + min(table.num_used + 8, 4)  # the index: columns, or a bit an entry
    whole = CompositionalTable(ROWS, PrunedTable(2 * BUCKETS, COLUMNS))
    whole.reset_parameters(fill)
    assert 0.08 < float(whole().detach().std()) < 0.12  # sums vary as a table of the backbone does


def test_the_loss_draws_sums_away_from_zero_and_fades() -> None:
    table = learned(weight=2.0)
    rows = torch.tensor([0, 5, 5])
    saturated = torch.tanh(100 * table(rows).detach()).square()
    loss = table.row_loss(rows)
    torch.testing.assert_close(loss.detach(), -2.0 * saturated.sum() / 3)
    with torch.no_grad():  # a sum near zero of two entries above their thresholds
        table.meta.weight[0, 0], table.meta.weight[4, 0] = 0.051, -0.05
    (gradient,) = torch.autograd.grad(table.row_loss(rows[:1]), table.meta.weight)
    assert gradient[0, 0] < 0 and gradient[4, 0] < 0  # descent raises a sum that is above zero
    before = table.row_loss(rows).detach()
    table.end_epoch()
    torch.testing.assert_close(table.row_loss(rows).detach(), before / 2)


@pytest.mark.parametrize("table", [pruned(), learned()], ids=["pruned", "learned"])
def test_comes_back_from_its_description(table: CompositionalTable) -> None:
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert type(again) is type(table) and again().equal(table())


def test_refuses_meta_tables_of_uneven_halves() -> None:
    with pytest.raises(ValueError, match="as many rows for P as for Q, got 7"):
        CompositionalTable(ROWS, PrunedTable(7, COLUMNS))
    with pytest.raises(ValueError, match="a table that is not known here"):
        build_table({**pruned().describe(), "meta_kind": "MaskedEmbedding", "meta_max_size": 4})
