from collections.abc import Callable

import numpy as np
import pytest
import torch

from bet_lightning.serving import PackedTable
from bet_lightning.serving.graph import Graph
from bet_lightning.serving.propagation import Propagation
from tests.serving.conftest import Packed

NUM_USERS, NUM_ITEMS = 60, 700


def sizes_of(rule: str) -> torch.Tensor:
    sizes = torch.ones(NUM_USERS + NUM_ITEMS, dtype=torch.int64)
    if rule == "few are large":
        sizes[[0, 3, 59, 60, 100]] = torch.tensor([8, 2, 3, 7, 5])
    elif rule == "few have any":
        sizes *= 0
        sizes[[0, 3, 59, 60, 100]] = torch.tensor([8, 2, 3, 7, 5])
    elif rule == "items have none":
        sizes[NUM_USERS:] = 0
    elif rule == "random":
        sizes = torch.randint(0, 9, sizes.shape)
    return sizes


def means_of_layers(packed: Packed) -> tuple[np.ndarray, np.ndarray]:
    """Final vectors by powers of the dense matrix, the zeroth by its weight, (d, num_users) and (d, num_items)."""
    pairs = np.zeros((NUM_USERS, NUM_ITEMS))
    pairs[packed.data.train.rows(), packed.data.train.indices] = 1
    adjacency = np.block([[np.zeros((NUM_USERS, NUM_USERS)), pairs], [pairs.T, np.zeros((NUM_ITEMS, NUM_ITEMS))]])
    root = np.maximum(adjacency.sum(0), 1) ** -0.5
    normalized = root[:, None] * adjacency * root
    table = packed.network.table()().detach().double().numpy()
    layers = int(packed.network.num_layers)
    powers = [np.linalg.matrix_power(normalized, layer) @ table for layer in range(layers + 1)]
    powers[0] *= float(packed.network.own_weight)
    final = np.mean(powers, axis=0).T
    return final[:, :NUM_USERS], final[:, NUM_USERS:]


@pytest.mark.parametrize("rule", ["few are large", "few have any", "items have none", "random", "all of one size"])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("own_weight", [1.0, 0.125])
def test_final_vectors_are_means_of_layers(
    own_weight: float, num_layers: int, rule: str, pack: Callable[..., Packed]
) -> None:
    packed = pack("LightGCN", sizes=sizes_of(rule), own_weight=own_weight, num_layers=num_layers)
    table = PackedTable.load(packed.folder)
    pairs = table.pairs("graph")
    assert pairs is not None
    propagation = Propagation(table, Graph(pairs))
    wanted_users, wanted_items = means_of_layers(packed)
    for users in (np.array([5]), np.array([59, 0, 3, 3]), np.arange(NUM_USERS), np.empty(0, np.int64), None):
        reach = propagation.reach(users)
        for columns in propagation.blocks(3):
            of_users, of_items = propagation.final(columns, reach)
            rows = slice(None) if users is None else users
            np.testing.assert_allclose(of_users, wanted_users[columns][:, rows], atol=1e-6)
            np.testing.assert_allclose(of_items, wanted_items[columns], atol=1e-6)


def test_some_users_do_not_need_all_of_the_graph(pack: Callable[..., Packed]) -> None:
    table = PackedTable.load(pack("LightGCN").folder)
    pairs = table.pairs("graph")
    assert pairs is not None
    propagation = Propagation(table, Graph(pairs))
    few, all_users = (propagation.reach(np.arange(count)) for count in (1, NUM_USERS))
    assert len(few.to_items.neighbours.index) < len(pairs.index) == len(all_users.to_items.neighbours.index)
