from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bet_lightning.gains import pool_decreasing, top_prefixes, top_sizes


def pool_one(values: list[float]) -> list[float]:
    """Pool adjacent violators of one row, block by block."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) < np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [float(np.mean(block)) for block in blocks for _ in block]


def test_pooling_equals_pool_adjacent_violators() -> None:
    gains = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    gains[0] = 1.0
    gains[1] = 0.0
    gains[2] = torch.arange(9)
    pooled = pool_decreasing(gains)
    expected = torch.tensor([pool_one(row) for row in gains.tolist()])
    torch.testing.assert_close(pooled, expected)
    assert (pooled.diff(dim=1) <= 0).all()


def test_pooling_goes_by_blocks_of_rows() -> None:
    gains = torch.rand(9_000, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pool_decreasing(gains)[8_990:], pool_decreasing(gains[8_990:]))


@pytest.mark.parametrize(("min_size", "cap"), [(0, 0), (0, 5), (1, 4), (1, 7), (1, 12)])
def test_top_sizes_keep_the_most(min_size: int, cap: int) -> None:
    rng = np.random.default_rng(cap)
    values = -np.sort(-rng.standard_normal((4, 3)).astype(np.float32), axis=1)
    sizes = top_sizes(values, cap, min_size=min_size, max_size=3)

    def kept(candidate: tuple[int, ...]) -> float:
        return sum(float(values[row, :size].sum()) for row, size in enumerate(candidate))

    possible = [c for c in itertools.product(range(min_size, 4), repeat=4) if sum(c) == cap]
    assert sizes.sum() == cap
    assert kept(tuple(sizes)) == pytest.approx(max(map(kept, possible)))


@pytest.mark.parametrize("count", [0, 1, 7, 60, 400, 450])
def test_top_prefixes_are_top_sizes_of_pooled_gains(count: int) -> None:
    gains = torch.rand(50, 9, generator=torch.Generator().manual_seed(2)) ** 4
    gains[3:6], gains[6:9, 2:] = 0.5, 0.0
    expected = top_sizes(pool_decreasing(gains).numpy(), count, min_size=0, max_size=9)
    lengths = top_prefixes(gains, count)
    assert lengths.sum() == count
    assert lengths.tolist() == expected.tolist()


def test_ties_go_to_the_earlier_column_then_row() -> None:
    sizes = top_sizes(np.ones((3, 4), np.float32), 8, min_size=1, max_size=4)
    assert sizes.tolist() == [3, 3, 2]
