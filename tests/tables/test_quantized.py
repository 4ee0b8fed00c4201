from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor

from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.precision import step_of
from bet_lightning.tables.masked import MaskedEmbedding
from bet_lightning.tables.quantized import QuantizedEmbedding

ROWS, WIDTH = 12, 10
SIZES = torch.tensor([10, 0, 1, 2, 3, 10, 9, 4, 0, 5, 7, 8])
KEPT = torch.arange(WIDTH) < SIZES.unsqueeze(1)


def make_masked() -> MaskedEmbedding:
    table = MaskedEmbedding(ROWS, WIDTH)
    values = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    table.reset_parameters(lambda weight: weight.data.copy_(values))
    table.set_sizes(SIZES)
    return table


def make(dtype: Dtype) -> QuantizedEmbedding:
    return QuantizedEmbedding.from_masked(make_masked(), dtype)


def nearest(table: QuantizedEmbedding) -> Tensor:
    """The nearest of all levels of each value, found by trying them one by one."""
    levels = LEVELS[table.dtype]
    apart = step_of(table.steps).unsqueeze(1) * step_of(table.columns)
    held = (torch.arange(levels) - (levels - 1) / 2) * apart.unsqueeze(2)
    place = (table.weight.detach().unsqueeze(2) - held).abs().argmin(2)
    return held.gather(2, place.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize("dtype", LEVELS)
def test_reads_as_the_nearest_levels_inside_the_sizes_and_as_zero_beyond(dtype: Dtype) -> None:
    table = make(dtype)
    expected = nearest(table)
    torch.testing.assert_close(table(), expected * KEPT, rtol=1e-5, atol=1e-6)
    assert not table()[~KEPT].any()  # four levels have none at zero
    held = (table.numbers().float() - (LEVELS[dtype] - 1) / 2) * table.distances()
    torch.testing.assert_close(table(), held * KEPT, rtol=1e-5, atol=1e-6)
    assert int(table.numbers()[KEPT].max()) < LEVELS[dtype]


@pytest.mark.parametrize("dtype", LEVELS)
def test_gradients_pass_straight_through_to_what_is_kept(dtype: Dtype) -> None:
    table = make(dtype)
    slope = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    (table() * slope).sum().backward()
    assert table.weight.grad is not None and table.weight.grad.equal(slope * KEPT)
    table.weight.grad = None
    rows = torch.tensor([3, 0, 3, 1])
    table(rows).sum().backward()
    wanted = torch.zeros(ROWS, WIDTH).index_add(0, rows, torch.ones(4, WIDTH)) * KEPT
    assert table.weight.grad is not None and table.weight.grad.equal(wanted)


@pytest.mark.parametrize("dtype", LEVELS)
def test_some_rows_are_those_of_the_whole(dtype: Dtype) -> None:
    table = make(dtype)
    rows = torch.tensor([5, 1, 11, 5, 0])
    assert table(rows).equal(table()[rows])
    assert table.narrow().equal(table()[:, : int(SIZES.max())])
    table.set_sizes(SIZES.clamp(max=4))
    assert table.narrow(rows).shape == (5, 4) and table.narrow(rows).equal(table()[rows, :4])


@pytest.mark.parametrize("dtype", LEVELS)
def test_a_masked_table_of_the_same_values_comes_back(dtype: Dtype) -> None:
    table = make(dtype)
    masked = table.to_masked()
    assert type(masked) is MaskedEmbedding and masked().equal(table()) and masked.sizes.equal(table.sizes)


def test_a_masked_table_stays_as_it_was() -> None:
    masked = make_masked()
    table = QuantizedEmbedding.from_masked(masked, "int2")
    with torch.no_grad():
        table.weight.zero_()
    assert masked().equal(make_masked()())


@pytest.mark.parametrize("dtype", LEVELS)
def test_steps_stay_until_they_are_fitted_again(dtype: Dtype) -> None:
    table = make(dtype)
    steps = table.steps.clone()
    with torch.no_grad():
        table.weight.mul_(0.25)
    table()
    assert table.steps.equal(steps)
    table.fit_steps()
    filled = SIZES > 0
    assert table.steps[filled].equal(steps[filled] + 24)  # two octaves of twelve steps


@pytest.mark.parametrize("dtype", LEVELS)
def test_a_table_is_built_again_from_its_description_and_state(dtype: Dtype) -> None:
    table = make(dtype)
    file = io.BytesIO()
    torch.save([dict(table.describe()), table.state_dict()], file)
    file.seek(0)
    description, state = torch.load(file, weights_only=True)
    assert description["kind"] == "QuantizedEmbedding"
    again = QuantizedEmbedding.from_description(description)
    again.load_state_dict(state)
    assert again.dtype == dtype and again().equal(table()) and again.num_used == table.num_used


def test_refuses_a_description_of_something_without_levels() -> None:
    with pytest.raises(ValueError, match="no table is held as fp32"):
        QuantizedEmbedding.from_description({"kind": "x", "num_rows": 2, "max_size": 3, "dtype": "fp32"})


def test_says_what_it_is_held_as() -> None:
    assert "dtype=int3" in repr(make("int3"))
