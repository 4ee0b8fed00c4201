from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones.pursuit import TablePursuit
from bet_lightning.gains import pool_decreasing, top_sizes

NUM_ROWS, WIDTH = 40, 5
IMPORTANCE = 1 / (1 + torch.arange(NUM_ROWS).double() // 4)


def make_matrix() -> Tensor:
    """A symmetric positive definite propagation that rebuilds some rows from others."""
    generator = torch.Generator().manual_seed(0)
    links = (torch.rand(NUM_ROWS, NUM_ROWS, generator=generator) < 0.1).double()
    links = (links + links.T).clamp(max=1) / 8
    return torch.eye(NUM_ROWS, dtype=torch.float64) + links + links @ links


def make_pursuit() -> TablePursuit:
    matrix = make_matrix()
    scales = torch.logspace(0, -1, WIDTH, dtype=torch.float64)  # like a principal basis
    full = torch.randn(NUM_ROWS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scales
    return TablePursuit(full, lambda table: matrix @ table, IMPORTANCE)


def relative_weights(pursuit: TablePursuit) -> Tensor:
    weights = IMPORTANCE / pursuit.propagate(pursuit.full).square().sum(1)
    return weights / weights.mean()


def missing(pursuit: TablePursuit, table: Tensor) -> float:
    errors = pursuit.propagate(pursuit.full - table).square().sum(1)
    return float((errors * relative_weights(pursuit)).sum())


def normal(pursuit: TablePursuit, table: Tensor) -> Tensor:
    """The objective's matrix times a table."""
    return pursuit.propagate(pursuit.propagate(table) * relative_weights(pursuit)[:, None])


def exact_curvature(pursuit: TablePursuit) -> Tensor:
    return (make_matrix().square() * relative_weights(pursuit)[:, None]).sum(0).unsqueeze(1)


@pytest.mark.parametrize("largest", [0, 2, WIDTH])
def test_fit_is_the_least_squares_solution(largest: int) -> None:
    pursuit = make_pursuit()
    sizes = torch.arange(NUM_ROWS) % (largest + 1)
    fitted = pursuit.fit(sizes, steps=200)
    kept, matrix = pursuit.kept(sizes), make_matrix()
    roots = relative_weights(pursuit).sqrt().unsqueeze(1)
    for column in range(WIDTH):
        rows = kept[:, column].nonzero().squeeze(1)
        exact = torch.linalg.lstsq(roots * matrix[:, rows], roots * (matrix @ pursuit.full[:, column, None])).solution
        torch.testing.assert_close(fitted[rows, column, None], exact, rtol=1e-6, atol=1e-8)
    assert not fitted[~kept].any()


def test_gains_are_what_single_parameters_bring_and_cost() -> None:
    pursuit, cap = make_pursuit(), 90
    pursuit.curvature = exact_curvature(pursuit)  # where random signs only estimate it
    gains = pursuit.gains(cap, min_size=1)
    assert gains.shape == pursuit.full.shape and bool((gains >= 0).all())
    grown = NUM_ROWS + (cap - NUM_ROWS) // 5
    sizes, table, gradient = pursuit.grow(grown, min_size=1)
    torch.testing.assert_close(gradient, normal(pursuit, pursuit.full - table))
    assert grown - 8 < int(sizes.sum()) <= grown and int(sizes.min()) >= 1
    before = missing(pursuit, table)
    for row, column in ((0, 0), (3, 1), (7, WIDTH - 1), (20, 2)):
        changed = table.clone()
        if column < int(sizes[row]):
            changed[row, column] = 0
            assert missing(pursuit, changed) - before == pytest.approx(float(gains[row, column]), rel=0.02, abs=1e-4)
        else:
            roots = relative_weights(pursuit).sqrt()
            direction = make_matrix()[:, row] * roots
            rest = pursuit.propagate(pursuit.full - table)[:, column] * roots
            best = float((direction @ rest) ** 2 / (direction @ direction))  # the fall at the best value
            assert best == pytest.approx(float(gains[row, column]), rel=1e-6)


def test_sizes_grow_from_nothing() -> None:
    pursuit = make_pursuit()
    sizes, table, gradient = pursuit.grow(30, min_size=0)
    assert 22 < int(sizes.sum()) <= 30 and int(sizes.min()) == 0
    assert not table[~pursuit.kept(sizes)].any()
    torch.testing.assert_close(gradient, normal(pursuit, pursuit.full - table))


def test_random_signs_estimate_the_curvature() -> None:
    pursuit = make_pursuit()
    assert float((pursuit.curvature / exact_curvature(pursuit) - 1).abs().mean()) < 0.2


def test_sizes_of_the_pursuit_rebuild_more_than_those_of_single_rows() -> None:
    pursuit, cap = make_pursuit(), 80
    left = []
    for gains in (pursuit.gains(cap, min_size=1), pursuit.propagate(pursuit.full).square()):
        pooled = pool_decreasing(gains).numpy()
        sizes = torch.from_numpy(top_sizes(pooled, cap, min_size=1, max_size=WIDTH))
        left.append(missing(pursuit, pursuit.fit(sizes, steps=50)))
    assert left[0] < left[1]
