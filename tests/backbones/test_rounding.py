from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import Edges, LightGCN, Refit
from bet_lightning.backbones.pursuit import TablePursuit
from bet_lightning.backbones.rounding import round_together
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.precision import fit_steps, round_values, step_of
from bet_lightning.tables.quantized import QuantizedEmbedding

USERS, ITEMS, WIDTH = 60, 50, 8


def make_network() -> LightGCN:
    generator = torch.Generator().manual_seed(0)
    pairs = (torch.rand(USERS, ITEMS, generator=generator) < 0.15).nonzero()
    network = LightGCN(Edges(pairs[:, 0], pairs[:, 1], USERS, ITEMS), WIDTH, 2)
    network.reset_parameters(generator)
    return network


def objective(pursuit: TablePursuit, table: Tensor) -> float:
    """The weighted squared error of final vectors, from its definition."""
    error = pursuit.propagate(table.clone()) - pursuit.propagate(pursuit.full.clone())
    return float((pursuit.weights * error.square()).sum())


@pytest.mark.parametrize("dtype", ["int4", "int3", "int2", "ternary"])
@pytest.mark.parametrize("smallest", [0, WIDTH])
def test_rounding_together_is_nearer_than_rounding_alone(dtype: Dtype, smallest: int) -> None:
    network, levels = make_network(), LEVELS[dtype]
    pursuit = network._pursuit(0.5)
    sizes = torch.randint(smallest, WIDTH + 1, (USERS + ITEMS,), generator=torch.Generator().manual_seed(1))
    kept = pursuit.kept(sizes)
    table = pursuit.full * kept
    steps = step_of(fit_steps(table, kept, levels)).unsqueeze(1)
    alone = round_values(table, steps, levels) * kept
    together = round_together(pursuit, alone, kept, steps, levels)
    # without whole columns, most of what is lost is not rounding's
    share = 0.92 if smallest else 0.97
    assert objective(pursuit, together) < share * objective(pursuit, alone)
    assert not together[~kept].any()
    held = (torch.arange(levels) - (levels - 1) / 2) * steps
    off = (together.unsqueeze(2) - held.unsqueeze(1)).abs().amin(2)
    assert float(off[kept].max()) <= 1e-6
    assert round_together(pursuit, alone, kept, steps, levels).equal(together)


@pytest.mark.parametrize("dtype", LEVELS)
def test_a_cut_rounds_together_where_it_refits(dtype: Dtype) -> None:
    sizes = torch.randint(1, WIDTH + 1, (USERS + ITEMS,), generator=torch.Generator().manual_seed(2))
    losses = []
    for refit in (Refit(), Refit(5, 0.5)):
        network = make_network()
        pursuit = network._pursuit(0.5)
        network.cut(sizes, refit, dtype)
        table = network.table()
        assert isinstance(table, QuantizedEmbedding) and table.dtype == network.dtype == dtype
        assert table.sizes.long().equal(sizes)
        losses.append(objective(pursuit, table().detach()))
        levels, apart = LEVELS[dtype], step_of(table.steps).unsqueeze(1) * step_of(table.columns)
        held = (torch.arange(levels) - (levels - 1) / 2) * apart.unsqueeze(2)
        off = (table().detach().unsqueeze(2) - held).abs().amin(2)
        assert float(off[pursuit.kept(sizes)].max()) <= 1e-6
    assert losses[1] < losses[0]


def test_floats_are_not_rounded() -> None:
    network = make_network()
    network.cut(torch.full((USERS + ITEMS,), 3), Refit(5, 0.5), "fp16")
    assert network.dtype == "fp32" and not isinstance(network.table(), QuantizedEmbedding)
