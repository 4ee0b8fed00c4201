from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF

BACKBONES: list[Callable[[Edges], Backbone]] = [
    lambda edges: MF(edges, max_size=6, init_std=0.5),
    lambda edges: LightGCN(edges, max_size=6, init_std=0.5),
    lambda edges: NGCF(edges, max_size=6),
    lambda edges: NeuMF(edges, max_size=6, init_std=0.5),
    lambda edges: NeuMF(edges, max_size=6, hidden=(5, 4), init_std=0.5),
]
NAMES = ["mf", "lightgcn", "ngcf", "neumf", "deep neumf"]


def all_scores(backbone: Backbone) -> torch.Tensor:
    backbone.eval()
    return backbone.score(backbone.encode(), torch.arange(backbone.num_users))


@pytest.mark.parametrize("make", BACKBONES, ids=NAMES)
def test_scores_stay_and_energy_moves_to_the_front(edges: Edges, make: Callable[[Edges], Backbone]) -> None:
    backbone = make(edges)
    backbone.reset_parameters(torch.Generator().manual_seed(1))
    before = all_scores(backbone)
    backbone.to_principal_basis()
    torch.testing.assert_close(all_scores(backbone), before, rtol=1e-4, atol=1e-5)
    energy = backbone.energy()
    assert energy.shape == (backbone.num_rows, backbone.row_width)
    assert (energy >= 0).all()
    torch.testing.assert_close(energy.sum(1), torch.ones(backbone.num_rows))
    by_column = (backbone.frequency @ energy)[:: len(backbone.tables)]  # of the first table
    assert (by_column.diff() <= 1e-5).all()


@pytest.mark.parametrize("make", BACKBONES[:2], ids=NAMES[:2])
def test_no_rotation_keeps_more_in_the_first_columns(edges: Edges, make: Callable[[Edges], Backbone]) -> None:
    backbone = make(edges)
    backbone.reset_parameters(torch.Generator().manual_seed(1))
    directions = torch.nn.functional.normalize(torch.cat(backbone.encode()))  # type: ignore[arg-type]
    values = torch.linalg.svdvals(directions * backbone.frequency.sqrt()[:, None])
    backbone.to_principal_basis()
    torch.testing.assert_close(backbone.frequency @ backbone.energy(), values.square())


def test_rows_count_as_often_as_they_have_interactions(edges: Edges) -> None:
    backbone = MF(edges, max_size=3)
    expected = torch.cat([torch.bincount(edges.users, minlength=7), torch.bincount(edges.items, minlength=9)])
    assert backbone.frequency.tolist() == expected.tolist()


@pytest.mark.parametrize("make", BACKBONES, ids=NAMES)
def test_masked_tables_keep_their_basis(edges: Edges, make: Callable[[Edges], Backbone]) -> None:
    backbone = make(edges)
    backbone.set_sizes(torch.full((backbone.num_rows,), backbone.row_width - 1))
    with pytest.raises(ValueError, match="at its full size only"):
        backbone.to_principal_basis()
