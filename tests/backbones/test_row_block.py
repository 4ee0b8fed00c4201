from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import NGCF, Backbone, Edges, LightGCN, NormalizedGraph
from bet_lightning.backbones import row_block as module
from bet_lightning.backbones.products import BLOCK_COLUMNS
from bet_lightning.backbones.row_block import RowBlock, cut_rows

Triplets = tuple[Tensor, Tensor, Tensor]
ROWS = torch.tensor([12, 3, 3, 6, 15, 0, 12])  # rows 6 and 15 have no edges


@pytest.fixture
def any_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut blocks however many of the entries they hold."""
    monkeypatch.setattr(module, "MAX_SHARE", 1.0)


def cut(graph: NormalizedGraph, rows: Tensor) -> RowBlock:
    block = graph.cut(rows)
    assert block is not None
    return block


@pytest.mark.usefixtures("any_share")
def test_block_is_these_rows_of_the_matrix(edges: Edges, norm_adj: Tensor) -> None:
    block = cut(NormalizedGraph(edges), ROWS)
    assert block.rows.tolist() == [0, 3, 6, 12, 15]
    assert block.rows[block.positions].equal(ROWS)
    torch.testing.assert_close(block.matrix.to_dense(), norm_adj[block.rows])
    torch.testing.assert_close(block.transposed.to_dense(), norm_adj[:, block.rows])


def test_no_block_where_whole_products_are_as_good(edges: Edges) -> None:
    graph = NormalizedGraph(edges)
    assert graph.cut(torch.arange(16)) is None
    assert graph.cut(torch.tensor([6])) is not None
    meta = (buffer.to("meta") for buffer in graph.buffers())
    assert cut_rows(*meta, ROWS) is None


@pytest.mark.usefixtures("any_share")
@pytest.mark.parametrize("width", [3, BLOCK_COLUMNS + 3])
@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_propagated_rows_and_their_gradient(edges: Edges, width: int, num_layers: int) -> None:
    graph = NormalizedGraph(edges)
    block = cut(graph, ROWS)
    x = torch.randn(16, width, requires_grad=True)
    weight, ego_weight = torch.randn(2, len(block.rows), width)
    expected = graph.propagate(x, num_layers)[block.rows]
    final, ego = graph.propagate_rows(x, num_layers, block)
    torch.testing.assert_close(final, expected)
    assert ego.equal(x[block.rows])
    (grad,) = torch.autograd.grad((final * weight + ego * ego_weight).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weight + x[block.rows] * ego_weight).sum(), x)
    torch.testing.assert_close(grad, wanted)


@pytest.mark.usefixtures("any_share")
def test_gradcheck_in_double_precision(edges: Edges) -> None:
    graph = NormalizedGraph(edges).double()
    block = cut(graph, ROWS)
    x = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: graph.propagate_rows(y, 3, block), x)
    assert torch.autograd.gradcheck(lambda y: graph.matmul_rows(y, block), x)


@pytest.mark.parametrize("make", [LightGCN, lambda edges, size: NGCF(edges, size, message_dropout=0.0)])
def test_training_is_the_same_with_and_without_blocks(
    edges: Edges, triplets: Triplets, make: type[Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(module, "MAX_SHARE", share)
        model = make(edges, 8)
        model.reset_parameters(torch.Generator().manual_seed(0))
        model.set_sizes(torch.arange(16) % 9)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            pos_scores, neg_scores, penalty = model(*triplets)
            optimizer.zero_grad()
            (torch.nn.functional.softplus(neg_scores - pos_scores).mean() + 0.1 * penalty).backward()
            optimizer.step()
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


def test_refuses_to_propagate_through_no_layer(edges: Edges) -> None:
    graph = NormalizedGraph(edges)
    block = cut(graph, torch.tensor([6]))
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        graph.propagate_rows(torch.zeros(16, 2), 0, block)
