from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.models import LightGCN as ReferenceLightGCN

from bet_lightning.backbones import Edges, LightGCN, Refit

Triplets = tuple[Tensor, Tensor, Tensor]


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_equals_torch_geometric(edges: Edges, triplets: Triplets, num_layers: int) -> None:
    ours = LightGCN(edges, max_size=5, num_layers=num_layers)
    reference = ReferenceLightGCN(num_nodes=16, embedding_dim=5, num_layers=num_layers)
    reference.embedding.weight.data.copy_(ours.masked_table().weight.data)
    heads = torch.cat([edges.users, edges.items + 7])
    tails = torch.cat([edges.items + 7, edges.users])
    edge_index = torch.stack([heads, tails])

    users, pos_items, neg_items = triplets
    pos_scores, neg_scores, _ = ours(*triplets)
    expected_pos = reference(edge_index, torch.stack([users, pos_items + 7]))
    expected_neg = reference(edge_index, torch.stack([users, neg_items + 7]))
    torch.testing.assert_close(pos_scores, expected_pos)
    torch.testing.assert_close(neg_scores, expected_neg)

    vectors = reference.get_embedding(edge_index)
    encoded = ours.encode()
    torch.testing.assert_close(torch.cat([encoded.users, encoded.items]), vectors)
    torch.testing.assert_close(ours.score(encoded, torch.arange(7)), vectors[:7] @ vectors[7:].T)

    torch.nn.functional.softplus(neg_scores - pos_scores).mean().backward()
    torch.nn.functional.softplus(expected_neg - expected_pos).mean().backward()
    torch.testing.assert_close(ours.masked_table().weight.grad, reference.embedding.weight.grad)


def test_refuses_negative_layers(edges: Edges) -> None:
    with pytest.raises(ValueError, match="num_layers must be at least 0, got -1"):
        LightGCN(edges, num_layers=-1)


def test_cut_fits_what_is_kept_to_the_full_tables_vectors(edges: Edges) -> None:
    backbone = LightGCN(edges, max_size=4)
    full, sizes = backbone.masked_table().weight.detach().clone(), torch.arange(16) % 5
    final = torch.cat(backbone.encode())  # type: ignore[arg-type]
    backbone.cut(sizes, Refit(steps=40, power=-1.0))
    found = backbone.table()().detach()
    propagation = backbone.propagate(torch.eye(16))
    importance = 1 / backbone.frequency.clamp(min=1).double()  # sides count the same
    importance = torch.cat([side / side.sum() for side in importance.split([backbone.num_users, backbone.num_items])])
    relative = importance.sqrt() / final.double().norm(dim=1)
    for column in range(4):  # least squares over the rows that keep the column
        rows = sizes > column
        weighted = relative[:, None] * propagation[:, rows].double()
        expected = torch.linalg.lstsq(weighted, relative * final[:, column].double()).solution
        fitted = propagation[:, rows].double() @ expected
        torch.testing.assert_close((propagation @ found[:, column]).double(), fitted, rtol=1e-3, atol=1e-4)
    assert not found[sizes == 0].any()

    other = LightGCN(edges, max_size=4)
    other.masked_table().weight.data.copy_(full)
    other.cut(sizes)
    torch.testing.assert_close(other.table()(), full * (torch.arange(4) < sizes[:, None]))
    with pytest.raises(ValueError, match="at its full size only"):
        other.cut(sizes)


def test_the_own_layer_has_a_weight(edges: Edges, triplets: Triplets) -> None:
    backbone = LightGCN(edges, max_size=5)
    backbone.weigh_own(0.25)
    table = backbone.table()()
    layers = [table]
    for _ in range(3):
        layers.append(backbone.graph.matmul(layers[-1]))
    expected = (0.25 * layers[0] + sum(layers[1:])) / 4
    torch.testing.assert_close(backbone.propagate(table), expected)
    rows = torch.tensor([3, 9, 3])
    found, norms = backbone.gather(rows)
    torch.testing.assert_close(found, expected[rows])
    torch.testing.assert_close(norms, table[rows].square().sum(1))
    slope = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * slope).sum(), backbone.masked_table().weight)[0]
    torch.testing.assert_close(
        torch.autograd.grad((backbone.propagate(backbone.ego()) * slope).sum(), backbone.masked_table().weight)[0],
        wanted,
    )


def test_weights_of_the_own_layer_are_loaded_and_those_of_version_0_1_are_1(edges: Edges) -> None:
    backbone, other = LightGCN(edges, max_size=5), LightGCN(edges, max_size=5)
    backbone.weigh_own(0.25)
    other.load_state_dict(backbone.state_dict())
    assert torch.cat(backbone.encode()).equal(torch.cat(other.encode()))  # type: ignore[arg-type]
    state = backbone.state_dict()
    del state["own_weight"]
    other.load_state_dict(state)
    backbone.weigh_own(1.0)
    assert torch.cat(backbone.encode()).equal(torch.cat(other.encode()))  # type: ignore[arg-type]


def test_cuts_weigh_own_parameters_as_fits_best() -> None:
    """A few rows have values: those of the others are made by the graph alone."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randperm(60 * 80, generator=generator)[:600]
    backbone = LightGCN(Edges(pairs // 80, pairs % 80, 60, 80), max_size=16)
    backbone.reset_parameters(generator)
    full = {name: value.clone() for name, value in backbone.state_dict().items()}
    target = torch.cat(backbone.encode())  # type: ignore[arg-type]
    sizes = torch.where(torch.rand(140, generator=generator) < 0.2, 16, 0)
    refit = Refit(10, -1.0)
    least = {}
    for own in (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625):  # least squares, with the whole matrix
        backbone.weigh_own(own)
        propagation = backbone.propagate(torch.eye(140))[:, sizes > 0].double()
        importance = 1 / backbone.frequency.clamp(min=1).double()
        importance = torch.cat([side / side.sum() for side in importance.split([60, 80])])
        root = (importance.sqrt() / target.double().norm(dim=1).clamp(min=1e-9)).unsqueeze(1)
        solution = torch.linalg.lstsq(root * propagation, root * target.double()).solution
        least[own] = float((root * (propagation @ solution - target)).square().sum())
    backbone.load_state_dict(full)
    backbone.cut(sizes, refit)
    assert least[float(backbone.own_weight)] < 1.02 * min(least.values()) < 0.96 * least[1.0]

    backbone.load_state_dict(full)
    assert float(backbone.own_weight) == 1
    backbone.cut(sizes)  # as it is
    assert float(backbone.own_weight) == 1


def test_cuts_of_the_same_table_share_its_problem_and_no_others(edges: Edges) -> None:
    sizes = torch.arange(16) % 5
    backbone = LightGCN(edges, max_size=4)
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.gains(24, 1, Refit(3))
    problems = [backbone._last_pursuit]
    table = state["tables.0.weight"]
    for weight, refit in ((table, Refit(3)), (table, Refit(3, 0.5)), (table * torch.rand(16, 1), Refit(3, 0.5))):
        state["tables.0.weight"] = weight
        fresh = LightGCN(edges, max_size=4)
        for network in (backbone, fresh):
            network.load_state_dict(state)
            network.cut(sizes, refit)
        assert backbone.table()().equal(fresh.table()())
        problems.append(backbone._last_pursuit)
    assert problems[0] is problems[1]
    assert len({id(problem) for problem in problems}) == 3
    backbone.pack()
    assert backbone._last_pursuit is None


def test_vectors_are_kept_in_place_of_the_table_and_need_no_layers(edges: Edges, triplets: Triplets) -> None:
    backbone = LightGCN(edges, max_size=5)
    assert backbone.kept_forms == {"table": True, "vectors": False}
    assert LightGCN(edges, keeps="vectors").kept_forms == {"vectors": False}
    assert LightGCN(edges, num_layers=0, keeps="table").kept_forms == {"table": False}
    kept = backbone.table()().detach().clone()
    backbone.to_kept_form("table")
    assert backbone.num_layers == 3 and backbone.rebuilds_rows and backbone.table()().equal(kept)
    before, scores = backbone.encode(), backbone(*triplets)[:2]
    backbone.to_kept_form("vectors")
    assert backbone.num_layers == 0 and not backbone.rebuilds_rows
    torch.testing.assert_close(backbone.table()(), torch.cat(before))  # type: ignore[call-overload]
    torch.testing.assert_close(backbone.encode(), before)
    torch.testing.assert_close(backbone(*triplets)[:2], scores)
    other = LightGCN(edges, max_size=5)
    other.load_state_dict(backbone.state_dict())
    assert other.num_layers == 0 and not other.rebuilds_rows
    torch.testing.assert_close(other.encode(), before)
    backbone.to_kept_form("vectors")  # once
    torch.testing.assert_close(backbone.encode(), before)

    sizes = torch.arange(16) % 6
    backbone.cut(sizes, Refit(5))  # nothing rebuilds what is cut off
    assert backbone.table()().equal(torch.cat(before) * (torch.arange(5) < sizes.unsqueeze(1)))  # type: ignore[call-overload]


def test_fresh_weights_have_all_layers_at_their_own_weights_again(edges: Edges) -> None:
    backbone, fresh = LightGCN(edges, max_size=5), LightGCN(edges, max_size=5)
    backbone.to_kept_form("vectors")
    backbone.weigh_own(0.25)
    for network in (backbone, fresh):
        network.reset_parameters(torch.Generator().manual_seed(2))
    assert backbone.num_layers == 3 and backbone.rebuilds_rows
    torch.testing.assert_close(backbone.encode(), fresh.encode(), rtol=0, atol=0)


def test_refuses_to_keep_anything_else(edges: Edges) -> None:
    with pytest.raises(ValueError, match="keeps must be table or vectors, got 'graph'"):
        LightGCN(edges, keeps="graph")  # type: ignore[arg-type]
