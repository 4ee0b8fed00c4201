from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import NGCF, Edges, Refit, ngcf

Triplets = tuple[Tensor, Tensor, Tensor]


def make(edges: Edges) -> NGCF:
    model = NGCF(edges, max_size=5, num_layers=2)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.set_sizes(torch.arange(16) % 6)
    return model


def dense_vectors(model: NGCF, norm_adj: Tensor, ego: Tensor) -> Tensor:
    hidden, outputs = ego, [ego]
    for first, second in zip(model.sum_layers, model.product_layers, strict=True):
        total = (norm_adj + torch.eye(16)) @ hidden @ first.weight.T + first.bias
        product = ((norm_adj @ hidden) * hidden) @ second.weight.T + second.bias
        hidden = torch.where(total + product > 0, total + product, 0.2 * (total + product))
        outputs.append(hidden / hidden.norm(dim=1, keepdim=True))
    return torch.cat(outputs, 1)


def test_equals_the_dense_formula(edges: Edges, norm_adj: Tensor, triplets: Triplets) -> None:
    model = make(edges).eval()
    vectors = dense_vectors(model, norm_adj, model.table()())
    users, pos_items, neg_items = triplets
    expected_pos = (vectors[users] * vectors[pos_items + 7]).sum(1)
    expected_neg = (vectors[users] * vectors[neg_items + 7]).sum(1)
    pos_scores, neg_scores, _ = model(*triplets)
    torch.testing.assert_close(pos_scores, expected_pos)
    torch.testing.assert_close(neg_scores, expected_neg)
    torch.testing.assert_close(model.score(model.encode(), torch.arange(7)), vectors[:7] @ vectors[7:].T)

    parameters = list(model.parameters())
    grads = torch.autograd.grad((neg_scores - pos_scores).exp().sum(), parameters)
    expected = torch.autograd.grad((expected_neg - expected_pos).exp().sum(), parameters)
    for grad, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-4)


def test_message_dropout_in_training_only(edges: Edges, triplets: Triplets) -> None:
    model = make(edges)
    model.eval()
    assert torch.equal(model(*triplets)[0], model(*triplets)[0])
    assert torch.equal(model.encode().users, model.encode().users)
    model.train()
    assert not torch.equal(model(*triplets)[0], model(*triplets)[0])


@pytest.mark.parametrize(("name", "value"), [("num_layers", 0), ("message_dropout", 1.0), ("message_dropout", -0.1)])
def test_refuses_wrong_arguments(edges: Edges, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        NGCF(edges, **{name: value})  # type: ignore[arg-type]


def test_gains_are_what_final_vectors_lose_to_first_order(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngcf, "NUM_SIGNS", 4_000)
    model = make(edges)
    model.set_sizes(torch.full((16,), 5))
    gains = model.gains(20, 1, Refit())
    assert model.training and not gains.requires_grad
    model.eval()
    ego = model.table()().detach()
    jacobian = torch.autograd.functional.jacobian(model.propagate, ego)  # (rows, width, rows, 5)
    weights = model.frequency / model.propagate(ego).detach().norm(dim=1).square()
    expected = ego.square() * torch.einsum("mwnj,m->nj", jacobian.square(), weights).detach()
    torch.testing.assert_close(gains, expected, rtol=0.15, atol=0.01 * expected.max().item())
