"""Backbones on tables of any form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.tables import MaskedEmbedding, PackedEmbedding
from bet_lightning.tables.soft_threshold import PrunedTable

BACKBONES = [MF, LightGCN, NGCF, NeuMF]
Triplets = tuple[Tensor, Tensor, Tensor]
Factory = Callable[..., Backbone]
MASK = torch.rand(16, 6, generator=torch.Generator().manual_seed(3)) < 0.6


@pytest.mark.parametrize("factory", BACKBONES)
def test_a_backbone_trains_and_ranks_with_the_vectors_of_any_table(
    factory: Factory, edges: Edges, triplets: Triplets
) -> None:
    pruned, plain = (factory(edges, max_size=6) for _ in range(2))
    pruned.use_tables([PrunedTable(16, 6, MASK) for _ in pruned.tables])
    for backbone in (pruned, plain):
        backbone.reset_parameters(torch.Generator().manual_seed(0))
    for index in range(len(plain.tables)):  # full tables with zeros where the other is pruned
        plain.masked_table(index).weight.data.mul_(MASK)
        assert pruned.table(index)().equal(plain.table(index)())
    losses = []
    for backbone in (pruned, plain):
        torch.manual_seed(0)  # message dropout
        pos_scores, neg_scores, regularizer = backbone(*triplets)
        loss = torch.nn.functional.softplus(neg_scores - pos_scores).mean() + regularizer
        loss.backward()
        losses.append(loss.item())
        backbone.eval()
    assert losses[0] == losses[1]
    users = torch.arange(7)
    assert pruned.score(pruned.encode(), users).equal(plain.score(plain.encode(), users))
    for index in range(len(plain.tables)):
        found, expected = pruned.table(index).weight.grad, plain.masked_table(index).weight.grad
        assert isinstance(found, Tensor) and isinstance(expected, Tensor)
        assert found.equal(expected * MASK)


@pytest.mark.parametrize("factory", BACKBONES)
def test_parameters_and_bytes_are_those_of_the_tables(factory: Factory, edges: Edges) -> None:
    backbone = factory(edges, max_size=6)
    count = len(backbone.tables)
    assert backbone.has_prefix_tables and backbone.num_used == backbone.shape.params == 96 * count
    assert backbone.num_bytes == 4 * 96 * count  # full: no sizes
    backbone.set_sizes(torch.full((16,), count))
    assert (backbone.num_used, backbone.num_bytes) == (16 * count, 4 * 16 * count)  # all of one size: no sizes either
    sizes = torch.full((16,), count)
    sizes[:2] = torch.tensor([count - 1, count + 1])
    backbone.set_sizes(sizes)
    assert (backbone.num_used, backbone.num_bytes) == (16 * count, 4 * 16 * count + 16)  # tables share the sizes
    backbone.pack()
    assert (backbone.num_used, backbone.num_bytes) == (16 * count, 4 * 16 * count + 16)
    backbone.use_tables([PrunedTable(16, 6, MASK) for _ in range(count)])
    assert not backbone.has_prefix_tables and not backbone.is_packed
    assert backbone.num_used == count * int(MASK.sum())
    assert backbone.num_bytes == count * PrunedTable(16, 6, MASK).num_bytes


def test_masked_tables_come_back(edges: Edges) -> None:
    backbone = MF(edges, max_size=6)
    backbone.set_sizes(torch.arange(16) % 7)
    held = backbone.table()().clone()
    backbone.pack()
    assert isinstance(backbone.table(), PackedEmbedding)
    backbone.use_masked_tables()
    assert isinstance(backbone.table(), MaskedEmbedding) and backbone.table()().equal(held)
    backbone.use_tables([PrunedTable(16, 6, MASK)])
    backbone.use_masked_tables()
    assert isinstance(backbone.table(), MaskedEmbedding) and backbone.num_used == 96


def test_what_needs_sizes_refuses_other_tables(edges: Edges) -> None:
    backbone = NeuMF(edges, max_size=6)
    backbone.use_tables([PrunedTable(16, 6), PrunedTable(16, 6)])
    message = "a table with a size for every row is needed, got PrunedTable"
    for change in (lambda: backbone.sizes, lambda: backbone.set_sizes(torch.full((16,), 3)), backbone.masked_table):
        with pytest.raises(ValueError, match=message):
            change()


@pytest.mark.parametrize(
    "tables", [[PrunedTable(16, 6)], [PrunedTable(16, 6), PrunedTable(16, 5)], [PrunedTable(15, 6)] * 2]
)
def test_refuses_tables_of_another_number_or_shape(edges: Edges, tables: list[PrunedTable]) -> None:
    backbone = NeuMF(edges, max_size=6)
    with pytest.raises(ValueError, match=r"tables must be 2 of \(16, 6\), got"):
        backbone.use_tables(tables)
    assert all(isinstance(table, MaskedEmbedding) for table in backbone.tables)
