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
