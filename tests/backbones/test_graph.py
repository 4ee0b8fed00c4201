from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import Edges, NormalizedGraph
from bet_lightning.backbones.products import BLOCK_COLUMNS


def test_equals_the_dense_definition(edges: Edges, norm_adj: Tensor) -> None:
    graph = NormalizedGraph(edges)
    torch.testing.assert_close(graph.csr().to_dense(), norm_adj)
    assert (graph.csr().to_dense()[[6, 15]] == 0).all()  # the user and the item without edges
    assert str(graph) == f"NormalizedGraph(num_rows=16, num_edges={len(edges.users)})"


@pytest.mark.parametrize("width", [1, 5, BLOCK_COLUMNS, BLOCK_COLUMNS + 3])
def test_matmul_and_its_gradient(edges: Edges, norm_adj: Tensor, width: int) -> None:
    graph = NormalizedGraph(edges)
    x, weight = torch.randn(2, 16, width, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    out = graph.matmul(x)
    torch.testing.assert_close(out, norm_adj @ x)
    (grad,) = torch.autograd.grad((out * weight).sum(), x)
    (expected,) = torch.autograd.grad((norm_adj @ x * weight).sum(), x)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("width", [5, BLOCK_COLUMNS + 3])
def test_propagate_and_its_gradient(edges: Edges, norm_adj: Tensor, num_layers: int, width: int) -> None:
    graph = NormalizedGraph(edges)
    x, weight = torch.randn(2, 16, width, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    x.requires_grad_()
    powers = [torch.linalg.matrix_power(norm_adj, layer) @ x for layer in range(num_layers + 1)]
    dense = torch.stack(powers).mean(0)
    out = graph.propagate(x, num_layers)
    torch.testing.assert_close(out, dense)
    (grad,) = torch.autograd.grad((out.square() * weight).sum(), x)
    (expected,) = torch.autograd.grad((dense.square() * weight).sum(), x)
    torch.testing.assert_close(grad, expected)
    assert torch.equal(x, before)


def test_gradcheck_in_double_precision(edges: Edges) -> None:
    graph = NormalizedGraph(edges).double()
    x = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(graph.matmul, x)
    assert torch.autograd.gradgradcheck(graph.matmul, x)
    assert torch.autograd.gradcheck(lambda y: graph.propagate(y, 3), x)
    assert torch.autograd.gradgradcheck(lambda y: graph.propagate(y, 3), x)


def test_buffers_stay_out_of_checkpoints(edges: Edges) -> None:
    graph = NormalizedGraph(edges)
    assert not graph.state_dict()
    assert {name for name, _ in graph.named_buffers()} == {"crow", "col", "value"}
    assert all(buffer.layout == torch.strided for buffer in graph.buffers())


def test_autocast_does_not_reach_the_product(edges: Edges, norm_adj: Tensor) -> None:
    graph = NormalizedGraph(edges)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    expected = norm_adj @ x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(graph.matmul(x), expected)
        assert graph.matmul(x.bfloat16()).dtype == torch.float32


def test_no_edges_at_all() -> None:
    none = torch.empty(0, dtype=torch.long)
    graph = NormalizedGraph(Edges(none, none, 2, 3))
    x = torch.randn(5, 4)
    assert (graph.matmul(x) == 0).all()
    torch.testing.assert_close(graph.propagate(x, 3), x / 4)


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([0, 1, 0], [1, 1, 1], "edges must be unique, got 1 repeated pairs"),
        ([0, 2], [1, 1], r"edges.users must be in 0\.\.1, got 0\.\.2"),
        ([0, 1], [-1, 1], r"edges.items must be in 0\.\.2, got -1\.\.1"),
        ([0, 1], [1], "must be vectors of one length"),
    ],
)
def test_refuses_wrong_edges(users: list[int], items: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormalizedGraph(Edges(torch.tensor(users), torch.tensor(items), 2, 3))


def test_refuses_negative_layers(edges: Edges) -> None:
    with pytest.raises(ValueError, match="num_layers must be at least 0, got -1"):
        NormalizedGraph(edges).propagate(torch.zeros(16, 2), -1)
