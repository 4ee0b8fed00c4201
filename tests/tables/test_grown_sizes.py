import itertools

import numpy as np
import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.grown_sizes import GrownSizesTable
from bet_lightning.tables.size_controller import popularity_steps

SIZES = (2, 4, 6)


@pytest.fixture
def table() -> GrownSizesTable:
    made = GrownSizesTable(4, 3, 6, SIZES, 0.1, popularity_steps(torch.tensor([9, 1, 9, 40, 3, 3, 0])))
    made.reset_parameters(lambda values: values.data.normal_(generator=torch.Generator().manual_seed(1)))
    return made


def test_rows_begin_with_the_smallest_size_and_only_grow(table: GrownSizesTable) -> None:
    assert table.sizes.tolist() == [2] * 7 and table.num_used == 14
    seen = [table.sizes]
    for rows in ([0, 4], [0, 1, 6], [0, 4], [0, 4]):
        table.grow(torch.tensor(rows))
        seen.append(table.sizes)
    assert all((after >= before).all() for before, after in itertools.pairwise(seen))
    assert table.sizes.tolist() == [6, 4, 2, 2, 6, 2, 4] and table.num_used == 26
    assert table.num_bytes == 4 * 26 + 7


def test_reads_the_present_size_through_the_layers_above_it(table: GrownSizesTable) -> None:
    table.eval()
    table.levels.copy_(torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    weight = table.weight.detach().numpy()
    expected = np.zeros((7, 6))
    for row, level in enumerate(table.levels.tolist()):
        side = table.side(int(row >= 4))
        first = sum(SIZES[:level])
        values = weight[row, first : first + SIZES[level]]
        for layer in list(side.layers)[level:]:
            matrix, bias = (each.detach().numpy() for each in layer.parameters())
            values = matrix @ values + bias
        expected[row] = np.tanh(values / np.sqrt(1 + side.norm.eps))  # running statistics are 0 and 1 at first
    np.testing.assert_allclose(table().detach().numpy(), expected, atol=1e-6)
    rows = torch.tensor([5, 0, 6, 0, 3])
    torch.testing.assert_close(table(rows), table()[rows])


def test_a_row_that_grows_reads_as_before(table: GrownSizesTable) -> None:
    table.eval()
    before = table().detach()
    table.grow(torch.arange(7))
    torch.testing.assert_close(table().detach(), before)
    with table.grown(torch.tensor([1, 5])):
        assert table.sizes.tolist() == [4, 6, 4, 4, 4, 6, 4]
        torch.testing.assert_close(table().detach(), before)
    assert table.sizes.tolist() == [4] * 7


def test_only_the_present_size_is_trained(table: GrownSizesTable) -> None:
    table.eval()  # batch statistics are of all sizes
    table.levels.copy_(torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    table().square().sum().backward()
    assert table.weight.grad is not None
    parts = torch.stack([part.any(1) for part in table.weight.grad.split(list(SIZES), dim=1)], dim=1)
    assert parts.equal(torch.nn.functional.one_hot(table.levels, 3).bool())
    policies = {name for name, each in table.named_parameters() if ".policy." in name and each.grad is not None}
    assert not policies
    assert len(list(table.relative_rates())) == sum(".policy." in name for name, _ in table.named_parameters())


def test_policies_see_popularity_and_size_of_a_side(table: GrownSizesTable) -> None:
    table.eval()
    rows = torch.tensor([0, 2, 3, 4, 5])
    scores = table.scores(rows, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(scores[[0, 3]], scores[[1, 4]])  # as popular as each other
    assert not scores[0].isclose(scores[2]).all()
    assert not table.scores(rows, torch.ones(5, dtype=torch.int64)).isclose(scores).all()


def test_the_present_size_is_preferred_and_policies_say_by_how_much(table: GrownSizesTable) -> None:
    levels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    table.levels.copy_(levels)
    preferences = table.preferences()
    assert table.training and preferences.argmax(1).equal(levels)
    table.eval()
    for level in range(2):
        scores = table.scores(torch.arange(7), torch.full((7,), level)).detach()
        odds, step = scores[:, 1] - scores[:, 0], preferences[:, level + 1] - preferences[:, level]
        agrees = (odds > 0) == (levels > level)
        assert agrees.any() and not agrees.all()
        torch.testing.assert_close(step[agrees], odds[agrees], rtol=1e-4, atol=1e-4)
        assert (step[~agrees].abs() < 1e-5).all()


def test_is_built_again_from_its_description_and_state(table: GrownSizesTable) -> None:
    table.grow(torch.tensor([1, 6]))
    table.last_rewards.fill_(0.3)
    again = build_table(table.describe())
    assert isinstance(again, GrownSizesTable) and again.rate == 0.1 and again.candidates == SIZES
    again.load_state_dict(table.state_dict())
    assert again.eval()().equal(table.eval()())
    table.reset_parameters(lambda values: values.data.fill_(1.0))
    assert not table.levels.any() and not table.last_rewards.any()
