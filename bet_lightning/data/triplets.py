"""Triplets for the BPR loss (arXiv 1205.2618): each training pair once per epoch, with a uniform negative item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bet_lightning.data.csr import Csr

_CHUNK = 1 << 18  # negatives drawn at once


class BPRBatch(NamedTuple):
    """A batch of triplets.

    Attributes:
        users: ``(b,)`` int64.
        pos_items: ``(b,)`` int64, a training item of each user.
        neg_items: ``(b,)`` int64, an item that is none of the user's training items.
    """

    users: Tensor
    pos_items: Tensor
    neg_items: Tensor


class TripletSampler:
    """Batches of triplets, uniform over training pairs, with exactly uniform negatives.

    A negative of user ``u`` is the ``r``-th item outside of the sorted training items ``i_0 < i_1 < ...``, with ``r``
    uniform in ``[0, num_items - degree_u)``. Of the items below ``i_j``, ``i_j - j`` are negatives. So the negative is
    ``r + #{j : i_j - j <= r}``, found by one binary search and without rejection. Users who have all items have no
    negative and are left out.

    The order of the pairs depends on (seed, epoch) and is the same for all processes, each of which takes a slice of
    every global batch. So W processes with batch size B go through the same pairs, step by step, as one process with
    batch size W B. All processes have the same number of batches. Negatives depend on (seed, epoch, rank). A checkpoint
    needs no state of the sampler.

    Args:
        train: Training pairs, users x items.
        batch_size: Triplets per batch and process. The last batch may be smaller, or one triplet larger where some
            process would otherwise have none.
        seed: Seed, not negative.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: If an argument is out of range, or there are fewer triplets than processes.
    """

    def __init__(self, train: Csr, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """Index the training pairs."""
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"data.seed must not be negative, got {seed}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.num_items = train.num_cols

        degrees, rows = train.degrees(), train.rows()
        within = np.arange(train.nnz) - train.indptr[rows]
        items = train.indices
        self._keys = torch.from_numpy(rows * train.num_cols + items - within)
        self._starts = torch.from_numpy(train.indptr[:-1].copy())
        self._num_negatives = torch.from_numpy(train.num_cols - degrees)
        usable = degrees[rows] < train.num_cols
        self._users = torch.from_numpy(rows[usable])
        self._items = torch.from_numpy(items[usable])
        if not self.num_triplets:
            raise ValueError("no triplet to train on: every user has no training item or all items")
        if self.num_triplets < world_size:
            raise ValueError(f"{self.num_triplets} triplets are too few for {world_size} devices")

    @property
    def num_triplets(self) -> int:
        """Triplets per epoch, over all processes."""
        return len(self._users)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose triplets the next iteration yields."""
        self.epoch = epoch

    def sample_negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one item outside of each user's training items, uniformly.

        Args:
            users: ``(n,)`` int64. None of them may have all items.
            generator: Source of randomness.

        Returns:
            ``(n,)`` int64.
        """
        uniform = torch.rand(len(users), dtype=torch.float64, generator=generator)
        index = uniform.mul_(self._num_negatives[users]).long()  # among the user's negatives
        below = torch.searchsorted(self._keys, users * self.num_items + index, right=True)
        return index + below - self._starts[users]

    def __len__(self) -> int:
        """Return the number of batches per epoch, the same on every process."""
        full, rest = divmod(self.num_triplets, self.batch_size * self.world_size)
        return full + (rest >= self.world_size or not full)

    def __iter__(self) -> Iterator[BPRBatch]:
        """Yield the batches of the epoch, which is fixed when the first batch is asked for."""
        order = torch.randperm(self.num_triplets, generator=_make_generator(self.seed, self.epoch))
        generator = _make_generator(self.seed, self.epoch, self.rank + 1)
        # Negatives are drawn before shuffling, in the order of users: neighbouring searches then share the cache,
        # which makes them three times as fast.
        chunks = torch.split(self._users, _CHUNK)
        negatives = torch.cat([self.sample_negatives(users, generator) for users in chunks])
        order = order[self.rank :: self.world_size]
        num_batches = len(self)
        for step in range(num_batches):
            end = (step + 1) * self.batch_size if step + 1 < num_batches else len(order)
            pairs = order[step * self.batch_size : end]
            yield BPRBatch(self._users[pairs], self._items[pairs], negatives[pairs])


class TripletLoader:
    """Loader of triplets for Lightning, which calls `loader.sampler.set_epoch` at the start of an epoch."""

    def __init__(self, sampler: TripletSampler) -> None:
        """Wrap a sampler."""
        self.sampler = sampler

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[BPRBatch]:
        """Iterate over the batches of the sampler's epoch."""
        return iter(self.sampler)


def _make_generator(*key: int) -> torch.Generator:
    """Return a torch generator seeded from integers."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
