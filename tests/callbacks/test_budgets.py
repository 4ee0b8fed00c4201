"""Budgets of a fit, by what they may be spent on."""

import pytest
import torch

from bet_lightning.backbones import MF, Edges, LightGCN
from bet_lightning.budget import Budget
from bet_lightning.callbacks.budgets import each_once, resolve_by_form
from bet_lightning.data import DataSplit, InteractionDataModule
from bet_lightning.deploy.packing import bytes_beside
from bet_lightning.methods import BET, UniformSizes


@pytest.fixture(scope="module")
def data() -> DataSplit:
    module = InteractionDataModule("synthetic")
    module.setup("fit")
    return module.dataset


@pytest.fixture(scope="module")
def edges(data: DataSplit) -> Edges:
    rows, items = (torch.from_numpy(array) for array in (data.train.rows(), data.train.indices))
    return Edges(rows, items, data.num_users, data.num_items)


def deployment(num_bytes: int) -> Budget:
    return Budget(bytes=num_bytes, covers="deployment")


def test_what_is_beside_a_table_is_taken_off_by_its_form(data: DataSplit, edges: Edges) -> None:
    network = LightGCN(edges, 16)
    graph, popularity = (bytes_beside(network, data, rebuilds, False) for rebuilds in (True, False))
    assert popularity < graph
    large, small, table = deployment(graph + 6_000), deployment(popularity + 7_000), Budget(bytes=5_000)
    assert small.bytes is not None and small.bytes < graph
    resolved = resolve_by_form([large, small, table], BET(), network, data)
    assert [(budget.bytes, budget.beside, budget.min_size) for budget in resolved["table"]] == [
        (6_000, graph, 0),
        (5_000, 0, 0),
    ]
    assert [(budget.bytes, budget.beside, budget.min_size) for budget in resolved["vectors"]] == [
        (graph + 6_000 - popularity, popularity, 1),
        (7_000, popularity, 1),
    ]
    names = [large.name, small.name, table.name]
    assert [(budget.name, budget.beside) for budget in each_once(resolved)] == [
        (name, beside) for name, beside in zip(names, (graph, popularity, 0), strict=True)
    ]


def test_a_user_s_form_and_methods_that_do_not_choose_leave_one(data: DataSplit, edges: Edges) -> None:
    graph = bytes_beside(LightGCN(edges, 16), data, True, False)
    budget = deployment(graph + 9_000)
    assert list(resolve_by_form([budget], BET(), LightGCN(edges, 16, keeps="table"), data)) == ["table"]
    assert list(resolve_by_form([budget], BET(), LightGCN(edges, 16, keeps="vectors"), data)) == ["vectors"]
    assert list(resolve_by_form([budget], UniformSizes(), LightGCN(edges, 16), data)) == ["table"]
    assert list(resolve_by_form([deployment(30_000)], BET(), MF(edges, 16), data)) == ["table"]


def test_a_budget_that_no_form_meets_is_refused(data: DataSplit, edges: Edges) -> None:
    network = LightGCN(edges, 16)
    with pytest.raises(ValueError, match=r"budget.bytes 4000 is too little .* smallest feasible budget.bytes is \d"):
        resolve_by_form([deployment(200_000), deployment(4_000)], BET(), network, data)
    graph = bytes_beside(network, data, True, False)
    with pytest.raises(ValueError, match="is too little"):  # its table form alone counts
        resolve_by_form([deployment(graph)], UniformSizes(), network, data)
