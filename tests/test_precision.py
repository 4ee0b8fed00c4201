from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bet_lightning.dtypes import FLOAT_BYTES, LEVELS, NUM_STEPS, Dtype
from bet_lightning.precision import fit_steps, level_of, nearest_step, round_values, step_of, value_of

CODES = torch.arange(NUM_STEPS, dtype=torch.uint8)
STEPS = step_of(CODES)


def all_levels(step: float, levels: int) -> Tensor:
    """Every value that a row of a step can hold, float64."""
    return (torch.arange(levels, dtype=torch.float64) - (levels - 1) / 2) * step


def squared_error(row: Tensor, step: float, levels: int) -> float:
    """What is lost of a row where each value takes the nearest of all levels, which are tried one by one."""
    return float((row.double()[:, None] - all_levels(step, levels)).square().amin(1).sum())


def test_every_dtype_has_bytes_or_levels() -> None:
    assert {*FLOAT_BYTES, *LEVELS} == set(get_args(Dtype)) and not {*FLOAT_BYTES} & {*LEVELS}


def test_codes_of_steps_come_back() -> None:
    assert nearest_step(STEPS).equal(CODES)
    assert bool((STEPS[:-1] > STEPS[1:]).all()) and bool((STEPS > 0).all())  # 0 is the largest


@given(st.floats(1e-12, 1e6))
def test_the_nearest_step_is_the_nearest_on_the_grid(step: float) -> None:
    code = int(nearest_step(torch.tensor([step], dtype=torch.float64).float()))
    octaves = (STEPS.double().log2() - torch.tensor(step, dtype=torch.float64).log2()).abs()
    assert float(octaves[code]) <= float(octaves.min()) + 1e-6
    if float(STEPS[-1]) <= step <= float(STEPS[0]):
        assert float(STEPS[code]) == pytest.approx(step, rel=0.02941)


def test_no_step_is_the_smallest() -> None:
    assert nearest_step(torch.tensor([0.0, -1.0])).tolist() == [NUM_STEPS - 1] * 2


@pytest.mark.parametrize("dtype", LEVELS)
def test_values_take_the_nearest_level(dtype: Dtype) -> None:
    levels = LEVELS[dtype]
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 30, generator=generator) * torch.logspace(-2, 2, 40).unsqueeze(1)
    steps = step_of(torch.randint(40, 200, (40, 1), generator=generator).to(torch.uint8))
    rounded = round_values(values, steps, levels)
    numbers = level_of(values, steps, levels)
    assert int(numbers.min()) >= 0 and int(numbers.max()) <= levels - 1 and numbers.equal(numbers.round())
    assert value_of(numbers, steps, levels).equal(rounded)
    for row in range(40):
        held = all_levels(float(steps[row]), levels)
        assert float((rounded[row].double()[:, None] - held).abs().amin(1).max()) <= 1e-6 * float(held.max())
        found = (rounded[row].double() - values[row]).abs()
        least = (values[row].double()[:, None] - held).abs().amin(1)
        assert bool((found <= least + 1e-6 * (values[row].abs() + steps[row])).all())
    assert round_values(rounded, steps, levels).equal(rounded)  # what is rounded stays


@pytest.mark.parametrize("dtype", LEVELS)
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy"])
def test_fitted_steps_lose_little_more_than_the_best(dtype: Dtype, kind: str) -> None:
    levels = LEVELS[dtype]
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(60, 24, generator=generator)
    if kind == "uniform":
        values = torch.rand(60, 24, generator=generator) * 2 - 1
    elif kind == "heavy":
        values = values.pow(3)
    values = values * torch.logspace(-0.5, 1, 60).unsqueeze(1)
    kept = torch.arange(24) < torch.arange(60).clamp(max=24).unsqueeze(1)
    values = values * kept
    codes = fit_steps(values, kept, levels)
    assert codes.dtype == torch.uint8 and codes.shape == (60,)
    found = best = 0.0
    for row in range(1, 60):
        inside = values[row][kept[row]]
        scale = float(inside.abs().max()) ** 2  # rows count alike
        found += squared_error(inside, float(step_of(codes[row])), levels) / scale
        best += min(squared_error(inside, step, levels) for step in STEPS.tolist()) / scale
    assert found <= 1.03 * best


@pytest.mark.parametrize("dtype", LEVELS)
def test_rows_without_values_and_of_zeros_are_fine(dtype: Dtype) -> None:
    values = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    kept = torch.tensor([[False, False], [True, True], [True, False]])
    codes = fit_steps(values, kept, LEVELS[dtype])
    assert codes.shape == (3,)
    rounded = round_values(values, step_of(codes).unsqueeze(1), LEVELS[dtype])
    assert bool(rounded.isfinite().all()) and float(rounded[:2].abs().max()) < 1e-3
    assert float(rounded[2, 0]) == pytest.approx(3, rel=0.023)
    assert fit_steps(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool), LEVELS[dtype]).shape == (0,)


def test_many_rows_are_fitted_like_few() -> None:
    values = torch.randn(9_000, 3, generator=torch.Generator().manual_seed(2))
    kept = torch.ones(9_000, 3, dtype=torch.bool)
    parts = [fit_steps(values[start : start + 700], kept[:700], 15) for start in range(0, 9_000 - 700, 700)]
    whole = fit_steps(values, kept, 15)
    assert whole[: 700 * len(parts)].equal(torch.cat(parts))


@pytest.mark.parametrize("spread", [1e-2, 1e-1, 1.0, 10.0])
def test_a_byte_a_value_is_as_fine_at_any_spread_that_tables_have(spread: float) -> None:
    values = torch.randn(200, 32, generator=torch.Generator().manual_seed(3)) * spread
    codes = fit_steps(values, torch.ones(200, 32, dtype=torch.bool), LEVELS["int8"])
    rounded = round_values(values, step_of(codes).unsqueeze(1), LEVELS["int8"])
    assert float((rounded - values).norm() / values.norm()) < 0.008
