import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.quotient_remainder import QuotientRemainderTable


def make_table(users: int = 7, items: int = 5, user_divisor: int = 3, item_divisor: int = 2) -> QuotientRemainderTable:
    table = QuotientRemainderTable(users, items, 4, user_divisor, item_divisor)
    generator = torch.Generator().manual_seed(0)
    table.reset_parameters(lambda values: values.data.normal_(std=0.1, generator=generator))
    return table


def test_every_row_is_a_product_of_its_two_factors() -> None:
    table = make_table()
    found = table().detach()
    for row in range(7):
        expected = table.quotients[row // 3] * table.remainders[row % 3]
        torch.testing.assert_close(found[row], expected.detach())
    for item in range(5):
        expected = table.quotients[3 + item // 2] * table.remainders[3 + item % 2]
        torch.testing.assert_close(found[7 + item], expected.detach())
    rows = torch.tensor([11, 0, 3, 3])
    assert table(rows).equal(table()[rows])


def test_no_two_rows_of_a_side_are_alike_and_it_counts_both_factors() -> None:
    table = make_table()
    assert len({tuple(row) for row in table().tolist()}) == 12
    assert table.num_used == (3 + 3 + 3 + 2) * 4 and table.num_bytes == 4 * table.num_used
    assert table.num_used == sum(parameter.numel() for parameter in table.parameters())
    assert 0.05 < float(table().detach().std()) < 0.2  # as a table of the backbone would be drawn


def test_all_factors_are_trained() -> None:
    table = make_table()
    table().square().sum().backward()
    for parameter in table.parameters():
        assert parameter.grad is not None and (parameter.grad.abs().sum(1) > 0).all()


def test_comes_back_from_its_description() -> None:
    table = make_table()
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert again().equal(table())
    with pytest.raises(ValueError, match="a table that is not known here"):
        build_table({**table.describe(), "kind": "SomeTable"})


def test_refuses_divisors_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"user_divisor must be in 1\.\.7, got 8"):
        make_table(user_divisor=8)
