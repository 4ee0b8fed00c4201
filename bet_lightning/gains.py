"""Sizes that keep what gains most: an exact selection under a cap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_ROWS = 4096  # rows pooled at once: temporaries stay in cache

Array = npt.NDArray[np.floating]


def pool_decreasing(gains: Tensor) -> Tensor:
    r"""Nearest rows, in least squares, that do not increase from column to column.

    Isotonic regression by pooling adjacent violators (Barlow et al. 1972), for all rows at once: neighbouring blocks of
    rising means are pooled until none are left. Sums of prefixes stay at least what they were, and entries that
    violated the order share their mean.

    Args:
        gains: (num_rows, width) floats.

    Returns:
        (num_rows, width) float32.
    """
    pooled = torch.empty(gains.shape, dtype=torch.float32)
    for rows, block in zip(pooled.split(_ROWS), gains.split(_ROWS), strict=True):
        rows.copy_(torch.from_numpy(_pool(block.double().numpy())))
    return pooled


def _pool(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums, lengths = gains.ravel(), np.ones(gains.size, dtype=np.int64)
    starts = np.arange(gains.size) % gains.shape[1] == 0  # whether a block is its row's first
    while True:
        means = sums / lengths
        heads = np.flatnonzero(starts | (np.diff(means, prepend=np.inf) <= 0))
        if len(heads) == len(sums):
            return np.repeat(means, lengths).reshape(gains.shape)
        sums, lengths, starts = np.add.reduceat(sums, heads), np.add.reduceat(lengths, heads), starts[heads]


def top_prefixes(gains: Tensor, count: int) -> npt.NDArray[np.int64]:
    """Return lengths of rows' prefixes that gain most together, in any order of gains along a row.

    Args:
        gains: (num_rows, width) floats.
        count: The sum of lengths wanted, at most ``num_rows * width``.

    Returns:
        (num_rows,) int64 lengths that sum to the count: what :func:`top_sizes` makes of the pooled gains.
    """
    lengths = np.zeros(len(gains), dtype=np.int64)
    if count <= 0:
        return lengths
    # a pooled gain is at least the least gain up to it, so that the rows whose gains all are below the last of the
    # largest of these are left without any: most rows need not be pooled
    values = gains.cpu()
    least = values.cummin(1).values.numpy()
    bound = np.partition(least, least.size - count, axis=None)[least.size - count]
    rows = np.flatnonzero(values.amax(1).numpy() >= bound)
    pooled = pool_decreasing(values[torch.from_numpy(rows)]).numpy()
    lengths[rows] = top_sizes(pooled, count, min_size=0, max_size=values.shape[1])
    return lengths


def top_sizes(values: Array, cap: int, *, min_size: int, max_size: int) -> npt.NDArray[np.int64]:
    """Return sizes that keep the parameters of largest value, exactly as many as the cap allows.

    Args:
        values: (num_rows, max_size), not increasing along a row: what a further parameter of a row is worth, in any
            unit and of any sign.
        cap: The sum of sizes wanted, within ``[min_size, max_size] * num_rows``.
        min_size: Smallest size of a row.
        max_size: Largest size of a row.

    Returns:
        (num_rows,) int64 sizes that sum to the cap. Among equal values the earlier column goes first, then the row.
    """
    num_rows = len(values)
    left = cap - min_size * num_rows
    sizes = np.full(num_rows, min_size, dtype=np.int64)
    if left <= 0:
        return sizes
    values = values[:, min_size:max_size]
    threshold = np.partition(values, values.size - left, axis=None)[values.size - left]
    sizes += (values > threshold).sum(1)
    # column by column, so that what a row gets of the ties is a prefix too
    _, tied_rows = np.nonzero((values == threshold).T)
    sizes += np.bincount(tied_rows[: cap - int(sizes.sum())], minlength=num_rows)
    return sizes
