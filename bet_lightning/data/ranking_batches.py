"""Blocks of users to rank all items for, with their seen items and their targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bet_lightning.data.csr import Csr


class RankingBatch(NamedTuple):
    """A block of users; all tensors are int64.

    Attributes:
        users: ``(b,)``, the users.
        seen_rows: ``(num_seen,)``, positions in ``users``.
        seen_items: ``(num_seen,)``, items not to be ranked. Pairs are sorted by (row, item).
        target_rows: ``(num_targets,)``, positions in ``users``.
        target_items: ``(num_targets,)``, items to be found. Pairs are sorted by (row, item).
    """

    users: Tensor
    seen_rows: Tensor
    seen_items: Tensor
    target_rows: Tensor
    target_items: Tensor

    def split(self, size: int) -> list[RankingBatch]:
        """Split into blocks of at most ``size`` users, in the same order."""
        count = len(self.users)
        if count <= size:
            return [self]
        blocks = []
        for start in range(0, count, size):
            seen, target = ((rows >= start) & (rows < start + size) for rows in (self.seen_rows, self.target_rows))
            blocks.append(
                RankingBatch(
                    self.users[start : start + size],
                    self.seen_rows[seen] - start,
                    self.seen_items[seen],
                    self.target_rows[target] - start,
                    self.target_items[target],
                )
            )
        return blocks


class RankingLoader:
    """Batches of users for full ranking: every user once, without padding.

    Args:
        users: ``(n,)`` int64, the users of all processes.
        seen: Pairs that are not to be ranked, all users x items.
        targets: Pairs that are to be found, of the same shape.
        batch_size: Users per batch.
        rank: Number of this process, which has ``users[rank::world_size]``.
        world_size: Number of processes.

    Attributes:
        share: Share of the batches to yield, in (0, 1]: the first ones, rounded up.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        users: npt.NDArray[np.int64],
        seen: Csr,
        targets: Csr,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Take this process's part of the users."""
        if batch_size < 1:
            raise ValueError(f"data.eval_batch_size must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        self.users = users[rank::world_size]
        self.seen = seen
        self.targets = targets
        self.batch_size = batch_size
        self.share = 1.0

    def num_batches(self, share: float) -> int:
        """Return the number of batches in a share of this process's batches, rounded up."""
        return math.ceil(share * -(-len(self.users) // self.batch_size))

    def __len__(self) -> int:
        """Return the number of batches that this process yields."""
        return self.num_batches(self.share)

    def __iter__(self) -> Iterator[RankingBatch]:
        """Yield the batches in the order of the users."""
        for index in range(len(self)):
            block = self.users[index * self.batch_size : (index + 1) * self.batch_size]
            arrays = (block, *self.seen.select(block), *self.targets.select(block))
            yield RankingBatch(*(torch.from_numpy(np.array(array, dtype=np.int64)) for array in arrays))
