from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import Edges, NeuMF

Triplets = tuple[Tensor, Tensor, Tensor]


def make(edges: Edges, hidden: Sequence[int] | None) -> NeuMF:
    model = NeuMF(edges, max_size=5, hidden=hidden, init_std=1.0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.set_sizes(torch.arange(16) % 11)
    return model


def dense_scores(model: NeuMF, users: Tensor, items: Tensor) -> Tensor:
    gmf, mlp = model.table(0)(), model.table(1)()
    hidden = torch.cat([mlp[users], mlp[items + 7]], 1)
    for layer in model.tower:
        hidden = (hidden @ layer.weight.T + layer.bias).clamp(min=0)
    joint = torch.cat([gmf[users] * gmf[items + 7], hidden], 1)
    return (joint @ model.output.weight.T + model.output.bias)[:, 0]


@pytest.mark.parametrize("hidden", [None, (4,), (6, 3, 4)])
def test_equals_the_dense_formula(edges: Edges, triplets: Triplets, hidden: Sequence[int] | None) -> None:
    model = make(edges, hidden)
    users, pos_items, neg_items = triplets
    expected_pos, expected_neg = dense_scores(model, users, pos_items), dense_scores(model, users, neg_items)
    pos_scores, neg_scores, _ = model(*triplets)
    torch.testing.assert_close(pos_scores, expected_pos)
    torch.testing.assert_close(neg_scores, expected_neg)

    pairs = torch.cartesian_prod(torch.arange(7), torch.arange(9))
    everything = dense_scores(model, pairs[:, 0], pairs[:, 1]).view(7, 9)
    torch.testing.assert_close(model.score(model.encode(), torch.arange(7)), everything)

    # The sum of both signs keeps the gradient of the output bias away from zero.
    parameters = list(model.parameters())
    grads = torch.autograd.grad((neg_scores - 2 * pos_scores).square().sum(), parameters)
    expected = torch.autograd.grad((expected_neg - 2 * expected_pos).square().sum(), parameters)
    for grad, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block_bytes", [1, 100, 500, 10**9])
def test_scores_do_not_depend_on_the_block(edges: Edges, block_bytes: int) -> None:
    model = make(edges, (6, 3))
    users = torch.arange(7).repeat(10)
    expected = model.score(model.encode(), users)
    model.block_bytes = block_bytes
    torch.testing.assert_close(model.score(model.encode(), users), expected)


def test_tables_start_narrow_and_biases_at_zero(edges: Edges) -> None:
    model = NeuMF(edges)
    assert [layer.weight.shape for layer in model.tower] == [(128, 256)]
    assert abs(float(model.masked_table(1).weight.detach().std()) - 0.01) < 1e-3
    assert not model.output.bias.any()


@pytest.mark.parametrize("hidden", [(), (4, 0)])
def test_refuses_wrong_towers(edges: Edges, hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hidden must be widths of at least 1"):
        NeuMF(edges, hidden=hidden)
