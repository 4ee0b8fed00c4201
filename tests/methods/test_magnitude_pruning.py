import torch

from bet_lightning.backbones import NeuMF
from bet_lightning.methods import MagnitudePruning
from bet_lightning.table_format import TableShape
from bet_lightning.tables.soft_threshold import PrunedTable
from tests.methods.compressing import COLUMNS, NUM_ROWS, only, run


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """The mask of the largest values, the slow way."""
    order = sorted(range(values.numel()), key=lambda place: -abs(float(values.flatten()[place])))
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view_as(values)


def test_keeps_the_largest_values_and_pays_for_their_index() -> None:
    found = run(MagnitudePruning(**only()), [2000])
    table = found.problem.network.table()
    assert isinstance(table, PrunedTable)
    bits = NUM_ROWS * COLUMNS // 8
    count = max((2000 - NUM_ROWS) // 5, (2000 - bits) // 4)  # a column a value and a count a row, or a bit a value
    mask = largest(found.pretrained, count)
    assert table.mask.equal(mask) and table.num_used == count
    assert table().equal(found.pretrained * mask)
    assert 2000 - 4 <= table.num_bytes <= 2000


def test_a_budget_in_parameters_pays_for_no_index() -> None:
    found = run(MagnitudePruning(**only()), ["300"])
    table = found.problem.network.table()
    assert table.num_used == 300 and table().equal(found.pretrained * largest(found.pretrained, 300))


def test_what_is_pruned_stays_zero_while_the_rest_is_trained() -> None:
    found = run(MagnitudePruning(**only(3)), ["300"])
    table, mask = found.problem.network.table()().detach(), largest(found.pretrained, 300)
    assert table.nonzero().equal(mask.nonzero()) and not table.equal(found.pretrained * mask)
    pruned = run(MagnitudePruning(**only()), ["300"])
    assert found.results["magnitude"].quality > pruned.results["magnitude"].quality


def test_two_tables_share_a_budget_evenly() -> None:
    found = run(MagnitudePruning(**only()), [3001], NeuMF)
    counts = [table.num_used for table in found.problem.network.tables]
    assert counts == [(1500 - NUM_ROWS * COLUMNS // 8) // 4] * 2
    assert MagnitudePruning().least_bytes(TableShape(120, 90, 2 * COLUMNS, 2)) == 2 * (4 + NUM_ROWS)
