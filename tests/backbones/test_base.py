from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF

BACKBONES = [MF, LightGCN, NGCF, NeuMF]
Triplets = tuple[Tensor, Tensor, Tensor]
Factory = Callable[..., Backbone]


def make(factory: Factory, edges: Edges, seed: int = 0) -> Backbone:
    backbone = factory(edges, max_size=6)
    backbone.reset_parameters(torch.Generator().manual_seed(seed))
    sizes = torch.arange(backbone.num_rows) % (backbone.row_width + 1)
    backbone.set_sizes(sizes)
    return backbone.eval()


@pytest.mark.parametrize("factory", BACKBONES)
def test_score_agrees_with_forward(factory: Factory, edges: Edges, triplets: Triplets) -> None:
    backbone = make(factory, edges)
    users, pos_items, neg_items = triplets
    pos_scores, neg_scores, regularizer = backbone(*triplets)
    scores = backbone.score(backbone.encode(), users)
    index = torch.arange(len(users))
    assert scores.shape == (12, 9)
    assert not scores.requires_grad
    torch.testing.assert_close(scores[index, pos_items], pos_scores)
    torch.testing.assert_close(scores[index, neg_items], neg_scores)
    rows = torch.cat([users, pos_items + 7, neg_items + 7])
    squares = sum(backbone.table(t)()[rows].square().sum() for t in range(len(backbone.tables)))
    torch.testing.assert_close(regularizer, squares / 24)


@pytest.mark.parametrize("factory", BACKBONES)
def test_scores_are_fresh_and_split_over_users(factory: Factory, edges: Edges) -> None:
    backbone = make(factory, edges)
    encoded = backbone.encode()
    whole = backbone.score(encoded, torch.arange(7))
    parts = [backbone.score(encoded, users) for users in torch.arange(7).split(3)]
    torch.testing.assert_close(torch.cat(parts), whole)
    expected = whole.clone()
    whole.fill_(-torch.inf)
    torch.testing.assert_close(backbone.score(encoded, torch.arange(7)), expected)


@pytest.mark.parametrize("factory", BACKBONES)
def test_gradient_reaches_only_what_the_sizes_keep(factory: Factory, edges: Edges, triplets: Triplets) -> None:
    backbone = make(factory, edges)
    pos_scores, neg_scores, regularizer = backbone(*triplets)
    ((neg_scores - pos_scores).exp().mean() + regularizer).backward()
    for index in range(len(backbone.tables)):
        table = backbone.masked_table(index)
        assert table.weight.grad is not None
        masked = torch.arange(6) >= table.sizes.unsqueeze(1)
        assert (table.weight.grad[masked] == 0).all()
        assert (table.weight.grad[~masked] != 0).any()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize("factory", BACKBONES)
def test_reset_is_deterministic_and_keeps_sizes(factory: Factory, edges: Edges) -> None:
    first, second = make(factory, edges), make(factory, edges)
    first_state, second_state = first.state_dict(), second.state_dict()
    assert all(torch.equal(first_state[name], second_state[name]) for name in first_state)
    sizes = first.sizes
    first.reset_parameters(torch.Generator().manual_seed(1))
    assert torch.equal(first.sizes, sizes)
    assert not torch.equal(first.masked_table().weight, second.masked_table().weight)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(7.0)
    first.reset_parameters(torch.Generator().manual_seed(0))
    assert all(torch.equal(value, second_state[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("factory", BACKBONES)
def test_sizes_are_shared_over_tables(factory: Factory, edges: Edges) -> None:
    backbone = factory(edges, max_size=4)
    num_tables = len(backbone.tables)
    assert backbone.num_rows == 16
    assert backbone.row_width == num_tables * 4
    assert backbone.num_used == 16 * backbone.row_width
    sizes = torch.arange(16, dtype=torch.uint8) % (backbone.row_width + 1)
    backbone.set_sizes(sizes)
    assert backbone.sizes.dtype == torch.int64
    assert torch.equal(backbone.sizes, sizes.long())
    assert backbone.num_used == int(sizes.sum())
    shares = torch.stack([backbone.masked_table(t).sizes.long() for t in range(num_tables)])
    assert ((shares[0] - shares[-1]).abs() <= 1).all()
    assert (shares[0] >= shares[-1]).all()


def test_uint8_sizes_do_not_wrap(edges: Edges) -> None:
    backbone = NeuMF(edges, max_size=128)
    backbone.set_sizes(torch.full((16,), 255, dtype=torch.uint8))
    assert backbone.masked_table(0).sizes.tolist() == [128] * 16
    assert backbone.masked_table(1).sizes.tolist() == [127] * 16


@pytest.mark.parametrize("factory", BACKBONES)
def test_state_dict_round_trip(factory: Factory, edges: Edges, triplets: Triplets) -> None:
    backbone, other = make(factory, edges), factory(edges, max_size=6).eval()
    other.load_state_dict(backbone.state_dict())
    for value, expected in zip(other(*triplets), backbone(*triplets), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("factory", BACKBONES)
def test_rows_of_size_zero(factory: Factory, edges: Edges) -> None:
    backbone = make(factory, edges)
    sizes = torch.full((16,), backbone.row_width)
    sizes[0] = 0
    backbone.set_sizes(sizes)
    scores = backbone.score(backbone.encode(), torch.tensor([0]))
    differ = scores.std() > 1e-6
    # A dot product with the zero vector ranks nothing; NeuMF still ranks by the item's half of its first layer.
    assert bool(differ) == (backbone.rebuilds_rows or isinstance(backbone, NeuMF))


def test_refuses_wrong_sizes_and_shapes(edges: Edges) -> None:
    with pytest.raises(ValueError, match=r"sizes must be in 0\.\.8, got 9\.\.9"):
        NeuMF(edges, max_size=4).set_sizes(torch.full((16,), 9))
    with pytest.raises(ValueError, match="edges must have users and items, got 0 and 9"):
        MF(edges._replace(num_users=0))


@pytest.mark.parametrize("backbone", [LightGCN, MF])
def test_narrow_tables_score_the_same(edges: Edges, triplets: Triplets, backbone: type[LightGCN | MF]) -> None:
    sizes = torch.arange(16) % 3
    wide, narrow = backbone(edges, max_size=40), backbone(edges, max_size=2)
    narrow.masked_table().weight.data.copy_(wide.masked_table().weight.data[:, :2])
    results = []
    for model in (wide, narrow):
        model.set_sizes(sizes)
        pos_scores, neg_scores, penalty = model(*triplets)
        ((neg_scores - pos_scores).exp().sum() + penalty).backward()
        results.append((pos_scores, neg_scores, penalty, model.score(model.encode(), torch.arange(7))))
        assert model.encode().users.shape[1] == 2
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert wide.masked_table().weight.grad is not None and narrow.masked_table().weight.grad is not None
    torch.testing.assert_close(wide.masked_table().weight.grad[:, :2], narrow.masked_table().weight.grad)
    assert not wide.masked_table().weight.grad[:, 2:].any()


@pytest.mark.parametrize("factory", BACKBONES)
def test_encoded_tables_do_not_follow_the_weights(factory: Factory, edges: Edges) -> None:
    backbone = factory(edges, max_size=6)  # full: no row is masked
    encoded = backbone.encode()
    before = backbone.score(encoded, torch.arange(7)).clone()
    with torch.no_grad():
        for index in range(len(backbone.tables)):
            backbone.masked_table(index).weight.add_(1.0)
    assert backbone.score(encoded, torch.arange(7)).equal(before)
