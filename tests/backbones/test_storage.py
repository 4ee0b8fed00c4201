"""Backbones on packed tables against the same on masked ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF, Refit
from bet_lightning.tables import MaskedEmbedding, PackedEmbedding

BACKBONES = [MF, LightGCN, NGCF, NeuMF]
Triplets = tuple[Tensor, Tensor, Tensor]
Factory = Callable[..., Backbone]


def both(factory: Factory, edges: Edges, sizes: Tensor | None = None) -> tuple[Backbone, Backbone]:
    masked = factory(edges, max_size=6)
    masked.reset_parameters(torch.Generator().manual_seed(0))
    masked.set_sizes(torch.arange(16) % (masked.row_width + 1) if sizes is None else sizes)
    packed = copy.deepcopy(masked)
    packed.pack()
    return masked, packed


def steps(backbone: Backbone, triplets: Triplets, count: int) -> list[float]:
    """Losses of some steps of training."""
    optimizer = torch.optim.Adam(backbone.parameters(), lr=0.05, fused=True)
    losses = []
    for seed in range(count):
        torch.manual_seed(seed)  # message dropout
        pos_scores, neg_scores, regularizer = backbone(*triplets)
        loss = torch.nn.functional.softplus(neg_scores - pos_scores).mean() + regularizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("factory", BACKBONES)
def test_packing_and_unpacking_keep_values_and_sizes(factory: Factory, edges: Edges) -> None:
    masked, packed = both(factory, edges)
    assert packed.is_packed and not masked.is_packed
    assert packed.sizes.equal(masked.sizes) and packed.num_used == masked.num_used
    tables = range(len(masked.tables))
    assert sum(packed.table(t).num_used for t in tables) == int(masked.sizes.sum())
    before = [packed.table(t) for t in tables]
    packed.pack()
    assert all(packed.table(t) is table for t, table in enumerate(before))
    for index in tables:
        assert packed.table(index)().equal(masked.table(index)())
        assert packed.table(index).sizes.equal(masked.table(index).sizes)
    packed.unpack()
    assert all(isinstance(packed.table(t), MaskedEmbedding) for t in tables)
    for index in tables:
        assert packed.table(index).weight.equal(masked.table(index)())
    packed.set_sizes(masked.sizes)


@pytest.mark.parametrize("factory", BACKBONES)
def test_scores_losses_and_gradients_are_the_masked_ones(factory: Factory, edges: Edges, triplets: Triplets) -> None:
    masked, packed = both(factory, edges)
    for backbone in (masked, packed):
        torch.manual_seed(0)
        pos_scores, neg_scores, regularizer = backbone(*triplets)
        (torch.nn.functional.softplus(neg_scores - pos_scores).mean() + regularizer).backward()
        backbone.eval()
    users = torch.arange(7)
    assert packed.score(packed.encode(), users).equal(masked.score(masked.encode(), users))
    for index in range(len(masked.tables)):
        of_masked, of_packed = masked.table(index), packed.table(index)
        assert isinstance(of_masked, MaskedEmbedding) and isinstance(of_packed, PackedEmbedding)
        assert of_masked.weight.grad is not None and of_packed.values.grad is not None
        inside = torch.arange(6) < of_masked.sizes.unsqueeze(1)
        assert of_packed.values.grad.equal(of_masked.weight.grad[inside])
    others = {name: p.grad for name, p in masked.named_parameters() if not name.startswith("tables")}
    found = {name: p.grad for name, p in packed.named_parameters() if not name.startswith("tables")}
    assert all(grad is not None and grad.equal(found[name]) for name, grad in others.items())


@pytest.mark.parametrize("factory", BACKBONES)
def test_training_is_the_same_bit_for_bit(factory: Factory, edges: Edges, triplets: Triplets) -> None:
    sizes = torch.tensor([4, 0, 1, 3, 6, 2, 5, 3] * 2) * (2 if factory is NeuMF else 1)
    masked, packed = both(factory, edges, sizes)  # 16 divides 48: torch's Adam rounds a remainder in another way
    assert steps(packed, triplets, 12) == steps(masked, triplets, 12)
    assert packed.eval().encode()[0].equal(masked.eval().encode()[0])


@pytest.mark.parametrize("factory", BACKBONES)
def test_training_is_the_same_but_for_the_last_digits_of_a_remainder(
    factory: Factory, edges: Edges, triplets: Triplets
) -> None:
    masked, packed = both(factory, edges)
    assert steps(packed, triplets, 12) == pytest.approx(steps(masked, triplets, 12), rel=1e-5)


@pytest.mark.parametrize("factory", BACKBONES)
def test_either_state_loads_into_the_other(factory: Factory, edges: Edges) -> None:
    masked, packed = both(factory, edges)
    fresh = factory(edges, max_size=6)
    fresh.load_state_dict(packed.state_dict())
    assert fresh.sizes.equal(masked.sizes)
    fresh.pack()
    assert all(value.equal(packed.state_dict()[name]) for name, value in fresh.state_dict().items())
    masked.reset_parameters(torch.Generator().manual_seed(1))
    packed.load_state_dict(masked.state_dict())
    for index in range(len(masked.tables)):
        assert packed.table(index)().equal(masked.table(index)())


@pytest.mark.parametrize("factory", BACKBONES)
@pytest.mark.parametrize("full", [False, True])
def test_what_needs_whole_tables_refuses_packed_ones(factory: Factory, edges: Edges, full: bool) -> None:
    width = 12 if factory is NeuMF else 6
    _, packed = both(factory, edges, torch.full((16,), width) if full else None)
    state = {name: value.clone() for name, value in packed.state_dict().items()}
    half = torch.full((16,), width // 2)
    for change in (packed.reset_parameters, packed.to_principal_basis, lambda: packed.cut(half, Refit(1))):
        with pytest.raises(ValueError, match="packed: unpack" if full else "packed: unpack|at its full size only"):
            change()
    with pytest.raises(ValueError, match=r"the tables are packed: unpack\(\) them"):
        packed.set_sizes(half)
    assert all(value.equal(state[name]) for name, value in packed.state_dict().items())
