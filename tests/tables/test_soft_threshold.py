from typing import get_args

import numpy as np
import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.soft_threshold import Granularity, PrunedTable, SoftThresholdTable


@pytest.mark.parametrize("granularity", get_args(Granularity))
def test_entries_shrink_by_their_threshold(granularity: Granularity) -> None:
    table = SoftThresholdTable(5, 3, granularity)
    with torch.no_grad():
        table.weight.normal_()
        table.threshold.normal_()
    weight, threshold = (parameter.detach().double().numpy() for parameter in (table.weight, table.threshold))
    expected = np.sign(weight) * np.maximum(0, np.abs(weight) - 1 / (1 + np.exp(-threshold)))
    np.testing.assert_allclose(table().detach().numpy(), expected, atol=1e-6)
    assert table.num_used == np.count_nonzero(expected)
    rows = torch.tensor([4, 0, 4])
    assert table(rows).equal(table()[rows])
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert again().equal(table())


def test_thresholds_begin_where_nothing_is_pruned_and_are_trained() -> None:
    table = SoftThresholdTable(5, 3)
    table.reset_parameters(lambda values: values.data.fill_(0.1))
    assert table.num_used == 15
    table().sum().backward()
    assert table.threshold.grad is not None and (table.threshold.grad < 0).all()  # larger ones lower the sum
    with pytest.raises(ValueError, match="granularity must be one of global, column, row, entry, got 'cell'"):
        SoftThresholdTable(5, 3, "cell")  # type: ignore[arg-type]


def test_a_pruned_table_trains_what_its_mask_keeps() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    values = torch.arange(1.0, 10.0).view(3, 3)
    for table, kept in ((PrunedTable(3, 3, mask), 2.0 * mask), (PrunedTable.from_values(values, mask), values * mask)):
        if not table.weight.any():
            table.reset_parameters(lambda weight: weight.data.fill_(2.0))
        assert table().equal(kept) and table.num_used == 5 and table.num_bytes == 5 * 4 + 2
        rows = torch.tensor([2, 0, 2])
        assert table(rows).equal(kept[rows])
        table().sum().backward()
        assert table.weight.grad is not None and table.weight.grad.equal(mask.float())
        again = build_table(table.describe())
        again.load_state_dict(table.state_dict())
        assert again().equal(table())
    with pytest.raises(RuntimeError):
        PrunedTable.from_values(values, mask[:2])
