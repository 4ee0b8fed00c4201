import numpy as np
import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.supernet import SupernetTable


def drawn_table() -> SupernetTable:
    table = SupernetTable(3, 2, 4, threshold_rate=2.5)
    table.reset_parameters(lambda values: values.data.normal_(generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        table.thresholds.copy_(torch.tensor([2.9, 1.2]))
    return table


def test_rows_below_their_sides_threshold_are_dropped() -> None:
    table = drawn_table().eval()
    weight, thresholds = table.weight.detach().numpy(), table.thresholds.detach().numpy()
    margin = np.abs(weight).sum(1) - np.repeat(thresholds, [3, 2])
    assert 0 < (margin > 0).sum() < 5
    np.testing.assert_allclose(table().detach().numpy(), weight * (margin > 0)[:, None])
    np.testing.assert_allclose(table.margin().numpy(), margin, rtol=1e-5)
    assert table.num_used == 4 * (margin > 0).sum()
    rows = torch.tensor([4, 0, 4])
    assert table(rows).equal(table()[rows])
    again = build_table(table.describe())
    assert isinstance(again, SupernetTable) and again.threshold_rate == 2.5
    again.load_state_dict(table.state_dict())
    assert again.eval()().equal(table())


def test_prefixes_are_drawn_a_side_and_reach_all_columns() -> None:
    table = drawn_table()
    with torch.no_grad():
        table.thresholds.fill_(-1.0)
    seen: list[set[int]] = [set(), set()]
    for _ in range(60):
        lengths = (table() != 0).sum(1)
        for side, rows in enumerate((lengths[:3], lengths[3:])):
            seen[side] |= set(rows.tolist())
            assert len(rows.unique()) == 1
    assert seen == [{1, 2, 3, 4}, {1, 2, 3, 4}]


def test_prefixes_nest() -> None:
    table = drawn_table()
    with torch.no_grad():
        table.thresholds.fill_(-1.0)
    for _ in range(20):
        vectors = table()
        kept = vectors != 0
        assert (kept[:, 1:] <= kept[:, :-1]).all()  # no column without those before it
        assert vectors[kept].equal(table.weight[kept])


@pytest.mark.parametrize(("margin", "slope"), [(0.1, 1.6), (-0.3, 0.8), (0.7, 0.4), (-0.9, 0.4), (1.5, 0.0)])
def test_thresholds_are_trained_through_the_step(margin: float, slope: float) -> None:
    table = SupernetTable(1, 1, 2).eval()
    with torch.no_grad():
        table.weight.copy_(torch.tensor([[1.0, 2.0], [5.0, 5.0]]))
        table.thresholds.copy_(torch.tensor([3.0 - margin, 0.0]))
    table(torch.tensor([0])).sum().backward()
    assert table.thresholds.grad is not None and table.weight.grad is not None
    # the sum of the row is 3, and its norm grows by one with either value
    torch.testing.assert_close(table.thresholds.grad, torch.tensor([-3 * slope, 0.0]))
    torch.testing.assert_close(table.weight.grad[0], torch.full((2,), 3 * slope + (margin > 0)))
