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

    Isotonic regression in its min-max form, :math:`\min_{a \le j} \max_{b \ge j} \mathrm{mean}(g_a, \dots, g_b)`
    (Barlow et al. 1972): what pool-adjacent-violators gives, for all rows at once. Sums of prefixes stay at least
    what they were, and entries that violated the order share their mean.

    Args:
        gains: (num_rows, width) floats.

    Returns:
        (num_rows, width) float32.
    """
    width = gains.shape[1]
    pooled = torch.empty(gains.shape, dtype=torch.float32)
    lengths = torch.arange(1, width + 1, dtype=torch.float64)
    for rows, block in zip(pooled.split(_ROWS), gains.split(_ROWS), strict=True):
        prefix = torch.nn.functional.pad(block.double().cumsum(1), (1, 0))
        best = torch.full(block.shape, torch.inf, dtype=torch.float64)
        for start in range(width):
            means = (prefix[:, start + 1 :] - prefix[:, start : start + 1]) / lengths[: width - start]
            highest = means.flip(1).cummax(1).values.flip(1)
            best[:, start:] = torch.minimum(best[:, start:], highest)
        rows.copy_(best)
    return pooled


def top_sizes(values: Array, cap: int, *, min_size: int, max_size: int) -> npt.NDArray[np.int64]:
    """Sizes that keep the parameters of largest value, exactly as many as the cap allows.

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
