from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import (
    MF,
    NGCF,
    Backbone,
    Edges,
    HasAuxiliaryLoss,
    KnowsEnergy,
    LightGCN,
    NeuMF,
    Refit,
    RefitsCuts,
    TurnsBasis,
)
from bet_lightning.backbones.initialization import fill_normal


class Bare(Backbone):
    """Scores by dot products and can do nothing else."""

    rebuilds_rows = False

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self.reset_tables(lambda values: fill_normal(values, 1.0, generator))

    def forward(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = self.table()()
        pos_scores, neg_scores = ((rows[users] * rows[items + 7]).sum(1) for items in (pos_items, neg_items))
        return pos_scores, neg_scores, rows.sum() * 0

    def encode(self) -> Tensor:
        return torch.clone(self.table()().detach())

    def score(self, encoded: Tensor, users: Tensor) -> Tensor:
        return torch.matmul(encoded[users], encoded[7:].T)


@pytest.mark.parametrize(
    ("factory", "turns", "knows", "refits"),
    [(MF, True, True, False), (LightGCN, True, True, True), (NGCF, True, True, False), (NeuMF, True, True, False)],
)
def test_what_each_backbone_can_do(
    edges: Edges, factory: type[Backbone], turns: bool, knows: bool, refits: bool
) -> None:
    backbone = factory(edges, max_size=4)
    assert isinstance(backbone, TurnsBasis) == turns
    assert isinstance(backbone, KnowsEnergy) == knows
    assert isinstance(backbone, RefitsCuts) == refits
    assert not isinstance(backbone, HasAuxiliaryLoss)


def test_a_backbone_need_not_be_able_to_do_anything_to_be_cut(edges: Edges) -> None:
    backbone = Bare(edges, max_size=4)
    backbone.reset_parameters(torch.Generator().manual_seed(0))
    assert not isinstance(backbone, TurnsBasis | KnowsEnergy | RefitsCuts | HasAuxiliaryLoss)
    full, sizes = backbone.encode(), torch.arange(16) % 5
    backbone.cut(sizes, Refit(steps=3))
    assert backbone.encode().equal(full * (torch.arange(4) < sizes[:, None]))
    with pytest.raises(ValueError, match="at its full size only"):
        backbone.cut(sizes)


@pytest.mark.parametrize("factory", [MF, NGCF, NeuMF])
def test_steps_leave_what_is_kept_where_a_backbone_cannot_refit(edges: Edges, factory: type[Backbone]) -> None:
    backbone = factory(edges, max_size=4)
    full = [backbone.table(index)().detach().clone() for index in range(len(backbone.tables))]
    backbone.cut(torch.full((16,), 2), Refit(steps=5, power=1.0))
    for index, before in enumerate(full):
        size = 2 // len(full)
        assert backbone.table(index)()[:, :size].equal(before[:, :size])
        assert not backbone.table(index)()[:, size:].any()
