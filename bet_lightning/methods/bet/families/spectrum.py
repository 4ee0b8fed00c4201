"""Sizes from the spectrum: parameters go to the rows and dimensions that carry most of a trained table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bet_lightning.allocation import split_cap
from bet_lightning.gains import pool_decreasing, top_sizes

MAX_EVENNESS = 0.999


def column_penalty(evenness: Tensor | float) -> Tensor:
    """Return octaves by which values fall from column to column: 0 at evenness 0, 1 at a half, 999 at most."""
    share = torch.as_tensor(evenness, dtype=torch.float64).clamp(0, MAX_EVENNESS)
    return share / (1 - share)


class Spectrum:
    r"""What every parameter of every row is worth, and the sizes that follow.

    Sizes keep the parameters of largest value on each side, the users' and the items':

    .. math::
        v_{nj} = \log_2 g_{nj} + b \log_2 f_n - c j

    with gains :math:`g` made non-increasing in j, popularity :math:`f`, an exponent b and the penalty
    :math:`c = t / (1 - t)` of an evenness t. Without evenness, the largest gains are kept; an evenness near 1 gives
    all rows of a side one size.

    Args:
        gains: (num_users + num_items, max_size) of each row's parameters, in the order in which sizes grow.
        frequency: (num_users + num_items,) training interactions a row.
        num_users: How many of the rows are users.

    Attributes:
        log_gains: (num_rows, max_size) float32, base 2.
        log_popularity: (num_rows, 1) float32, base 2.
    """

    def __init__(self, gains: Tensor, frequency: Tensor, num_users: int) -> None:
        self.num_users = num_users
        self.num_rows, self.max_size = gains.shape
        tiny = torch.finfo(torch.float32).tiny
        self.log_gains = pool_decreasing(gains.cpu()).clamp(min=tiny).log2()
        self.log_popularity = frequency.cpu().clamp(min=1).float().log2().unsqueeze(1)

    @property
    def sides(self) -> tuple[slice, slice]:
        """The rows of the users and of the items."""
        return slice(None, self.num_users), slice(self.num_users, None)

    def user_cap(self, cap: int, user_share: float, min_size: int) -> int:
        """Return the users' share of a cap, moved to the nearest that both sides can spend."""
        num_items = self.num_rows - self.num_users
        return split_cap(cap, user_share, self.num_users, num_items, min_size=min_size, max_size=self.max_size)

    def sizes(self, cap: int, user_share: float, exponent: float, evenness: float = 0.0, min_size: int = 1) -> Tensor:
        """Return sizes that keep the parameters of largest value of each side.

        Args:
            cap: The budget B in parameters.
            user_share: Share of it for users, moved to the nearest share that both sides can spend.
            exponent: Power of popularity; 0 weighs rows by their gains alone.
            evenness: From 0 to 1.
            min_size: Smallest size of a row.

        Returns:
            (num_rows,) int64, users first, with a sum of exactly the cap.
        """
        user_cap = self.user_cap(cap, user_share, min_size)
        penalty = (column_penalty(evenness) * torch.arange(self.max_size)).float()
        values = (self.log_gains + exponent * self.log_popularity - penalty).numpy()
        sizes = [
            top_sizes(values[side], side_cap, min_size=min_size, max_size=self.max_size)
            for side, side_cap in zip(self.sides, (user_cap, cap - user_cap), strict=True)
        ]
        return torch.from_numpy(np.concatenate(sizes))
