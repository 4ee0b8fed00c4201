from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.size_controller import popularity_steps
from bet_lightning.tables.soft_sizes import SoftSizesTable

FREQUENCY = torch.tensor([9, 1, 9, 40, 3, 3, 0])


@pytest.fixture
def table() -> Iterator[SoftSizesTable]:
    made = SoftSizesTable(4, 3, 6, (2, 6), 0.1, popularity_steps(FREQUENCY))
    made.reset_parameters(lambda values: values.data.normal_(generator=torch.Generator().manual_seed(1)))
    yield made


def test_reads_the_mixture_of_all_sizes(table: SoftSizesTable) -> None:
    table.eval()
    weights, weight = table.all_weights().numpy(), table.weight.detach().numpy()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    expected = np.zeros((7, 6))
    for rows, side in ((slice(0, 4), table.sides[0]), (slice(4, 7), table.sides[1])):
        for k, columns in enumerate((slice(0, 2), slice(2, 8))):
            linear = side.transforms[k]
            values = weight[rows, columns] @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            # running statistics are 0 and 1 at first
            expected[rows] += weights[rows, k : k + 1] * np.tanh(values / np.sqrt(1 + side.norm.eps))
    np.testing.assert_allclose(table().detach().numpy(), expected, atol=1e-6)
    rows = torch.tensor([5, 0, 6, 0, 3])
    torch.testing.assert_close(table(rows), table()[rows])
    torch.testing.assert_close(table(torch.tensor([2])), table()[[2]])
    assert table.num_used == 7 * 8 and table.num_bytes == 4 * 56


def test_the_controller_sees_popularity_and_last_weights(table: SoftSizesTable) -> None:
    table.eval()
    weights = table.all_weights()
    assert weights[[0, 4]].equal(weights[[2, 5]])  # as popular as each other
    assert not weights[0].isclose(weights[3]).all() and not weights[0].isclose(weights[1]).all()
    table.last_weights[0, table.popularity[0]] = torch.tensor([0.9, 0.1])
    after = table.all_weights()
    changed = ~after.isclose(weights).all(1)
    assert changed.tolist() == [True, False, True, False, False, False, False]
    assert after[0].equal(after[2])


def test_training_keeps_the_last_weights_of_what_is_read(table: SoftSizesTable) -> None:
    before = table.last_weights.clone()
    table(torch.tensor([0, 1, 5]))
    changed = (table.last_weights != before).any(2).nonzero().tolist()
    steps = table.popularity.tolist()
    assert changed == sorted([[0, steps[0]], [0, steps[1]], [1, steps[5]]])
    kept = table.last_weights.clone()
    with table.deciding():
        table()
    table.eval()()
    assert table.last_weights.equal(kept)


def test_gradients_reach_controllers_only_while_they_decide(table: SoftSizesTable) -> None:
    def with_gradient() -> set[str]:
        table.zero_grad()
        table().square().sum().backward()
        return {name for name, each in table.named_parameters() if each.grad is not None and each.grad.any()}

    controllers = {name for name, _ in table.named_parameters() if ".controller." in name}
    assert not with_gradient() & controllers and "weight" in with_gradient()
    with table.deciding():
        assert with_gradient() & controllers
    rated = {id(parameter): rate for parameter, rate in table.relative_rates()}
    named = dict(table.named_parameters())
    assert {name for name in named if id(named[name]) in rated} == controllers and set(rated.values()) == {0.1}


def test_is_built_again_from_its_description_and_state(table: SoftSizesTable) -> None:
    table()
    again = build_table(table.describe())
    assert isinstance(again, SoftSizesTable) and again.rate == 0.1 and again.candidates == (2, 6)
    again.load_state_dict(table.state_dict())
    assert again.eval()().equal(table.eval()())


def test_what_the_backbone_draws_decides_on_all_that_is_drawn(table: SoftSizesTable) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))
        table()  # moves running statistics and last weights
        table.reset_parameters(lambda values, s=seed: values.data.normal_(generator=torch.Generator().manual_seed(s)))
        states.append({name: value.clone() for name, value in table.state_dict().items()})
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert not states[0]["sides.0.transforms.0.weight"].equal(states[2]["sides.0.transforms.0.weight"])


def test_popularity_counts_in_quarters_of_an_octave() -> None:
    assert popularity_steps(torch.tensor([0, 1, 3, 7, 2**31 - 1])).tolist() == [0, 4, 8, 12, 124]
