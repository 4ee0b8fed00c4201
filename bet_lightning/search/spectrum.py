"""Sizes from the spectrum: parameters go to the rows and dimensions that carry most of a trained table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bet_lightning.budget import split_cap
from bet_lightning.gains import pool_decreasing, top_sizes


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
