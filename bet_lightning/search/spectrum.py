"""Sizes from the spectrum: parameters go to the rows and dimensions that carry most of a trained table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bet_lightning.budget import split_cap

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


def top_sizes(gains: Array, weights: Array, cap: int, *, min_size: int, max_size: int) -> npt.NDArray[np.int64]:
    """Sizes that keep the largest weighted gains, exactly as many as the cap allows.

    Args:
        gains: (num_rows, max_size), not increasing along a row: what a row gains from each further parameter.
        weights: (num_rows,) not negative.
        cap: The sum of sizes wanted, within ``[min_size, max_size] * num_rows``.
        min_size: Smallest size of a row.
        max_size: Largest size of a row.

    Returns:
        (num_rows,) int64 sizes that sum to the cap. Among equal gains the earlier column goes first, then the row.
    """
    num_rows = len(gains)
    left = cap - min_size * num_rows
    sizes = np.full(num_rows, min_size, dtype=np.int64)
    if left <= 0:
        return sizes
    values = gains[:, min_size:max_size] * weights[:, None]
    threshold = np.partition(values, values.size - left, axis=None)[values.size - left]
    sizes += (values > threshold).sum(1)
    # column by column, so that what a row gets of the ties is a prefix too
    _, tied_rows = np.nonzero((values == threshold).T)
    sizes += np.bincount(tied_rows[: cap - int(sizes.sum())], minlength=num_rows)
    return sizes


class Spectrum:
    """What every parameter of every row is worth, and the sizes that follow.

    Args:
        energy: (num_users + num_items, max_size) of each row's parameters, in the order in which sizes grow.
        frequency: (num_users + num_items,) training interactions a row.
        num_users: How many of the rows are users.
    """

    def __init__(self, energy: Tensor, frequency: Tensor, num_users: int) -> None:
        self.num_users = num_users
        self.max_size = energy.shape[1]
        self.gains = pool_decreasing(energy.cpu()).numpy()
        self.popularity = frequency.cpu().clamp(min=1).numpy().astype(np.float32)

    @property
    def sides(self) -> tuple[slice, slice]:
        """The rows of the users and of the items."""
        return slice(None, self.num_users), slice(self.num_users, None)

    def user_cap(self, cap: int, user_share: float, min_size: int) -> int:
        """The users' share of a cap, moved to the nearest that both sides can spend."""
        num_items = len(self.gains) - self.num_users
        return split_cap(cap, user_share, self.num_users, num_items, min_size=min_size, max_size=self.max_size)

    def sizes(self, cap: int, user_share: float, exponent: float, min_size: int = 1) -> Tensor:
        """Sizes that keep the largest ``gain * popularity ** exponent`` of each side.

        Args:
            cap: The budget B in parameters.
            user_share: Share of it for users, moved to the nearest share that both sides can spend.
            exponent: 0 weighs rows by their gains alone.
            min_size: Smallest size of a row.

        Returns:
            (num_rows,) int64, users first, with a sum of exactly the cap.
        """
        user_cap = self.user_cap(cap, user_share, min_size)
        sizes = [
            top_sizes(
                self.gains[side],
                self.popularity[side] ** np.float32(exponent),
                side_cap,
                min_size=min_size,
                max_size=self.max_size,
            )
            for side, side_cap in zip(self.sides, (user_cap, cap - user_cap), strict=True)
        ]
        return torch.from_numpy(np.concatenate(sizes))
