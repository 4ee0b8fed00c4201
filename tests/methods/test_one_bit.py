import pytest
import torch

from bet_lightning.backbones import NeuMF
from bet_lightning.methods import OneBit
from bet_lightning.methods.one_bit import Scale
from bet_lightning.table_format import TableShape
from bet_lightning.tables.one_bit import OneBitTable
from tests.methods.compressing import COLUMNS, NUM_ROWS, only, run


@pytest.mark.parametrize(("scale", "others"), [("side", 8), ("row", NUM_ROWS)])
def test_rows_have_as_many_columns_as_fit(scale: Scale, others: int) -> None:
    method = OneBit(scale, **only())
    for columns in (1, 3, 7, 8):
        num_bytes = 4 * -(-NUM_ROWS * columns // 32) + others
        found = run(method, [num_bytes])
        table = found.problem.network.table()
        assert isinstance(table, OneBitTable) and table.columns == columns and table.num_bytes == num_bytes
        if columns > 1:
            fewer = run(method, [num_bytes - 1]).problem.network.table()
            assert isinstance(fewer, OneBitTable) and fewer.columns == columns - 1
    whole = run(method, [3000]).problem.network.table()
    assert isinstance(whole, OneBitTable) and whole.columns == COLUMNS


def test_keeps_the_signs_of_the_first_principal_columns() -> None:
    found = run(OneBit(**only()), [200])
    table = found.problem.network.table()().detach()
    energy = found.pretrained.square().sum(0)
    assert (energy[:3].sum() > 0.5 * energy.sum()) and (table[:, 7:] == 0).all()
    kept = table[0].count_nonzero()
    assert kept == (200 - 8) // 4 * 32 // NUM_ROWS
    assert (table.sign() == torch.where(found.pretrained < 0, -1, 1))[:, :kept].all()


@pytest.mark.parametrize("scale", ["side", "row"])
def test_training_turns_signs(scale: Scale) -> None:
    taken, trained = (run(OneBit(scale, **only(epochs)), [600]) for epochs in (0, 6))
    assert trained.results["one_bit"].quality > taken.results["one_bit"].quality
    tables = [found.problem.network.table()().detach() for found in (taken, trained)]
    assert (tables[0].sign() != tables[1].sign()).any()
    sizes = [table[table != 0].abs().unique() for table in tables]
    assert len(sizes[1]) <= (2 if scale == "side" else NUM_ROWS) and not sizes[0].equal(sizes[1])


def test_two_tables_share_a_budget_evenly() -> None:
    found = run(OneBit(**only()), [301], NeuMF)
    columns = [table.columns for table in found.problem.network.tables]
    assert columns == [(150 - 8) // 4 * 32 // NUM_ROWS] * 2
    assert OneBit().least_bytes(TableShape(120, 90, 16, 2)) == 2 * (4 * 7 + 8)


def test_refuses_a_scale_that_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"search\.method\.scale must be one of side, row, got 'column'"):
        OneBit("column")  # type: ignore[arg-type]
