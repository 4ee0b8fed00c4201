"""Triplets for the BPR loss: every training pair once an epoch, each with a uniform negative item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bet_lightning.data.csr import Csr

_CHUNK = 1 << 18  # negatives drawn at once


class BPRBatch(NamedTuple):
    """Users, an item of theirs, and an item that is not; int64 of shape `(batch,)` each."""

    users: Tensor
    pos_items: Tensor
    neg_items: Tensor


class TripletSampler:
    """Batches of triplets, uniform over training pairs, with exactly uniform negatives.

    A negative of user `u` is the `r`-th item outside of the sorted training items `i_0 < i_1 < ...`, with `r`
    uniform in `[0, num_items - degree_u)`. As `i_j - j` is how many of the items below `i_j` are
    negatives, that item is `r + #{j : i_j - j <= r}`: one binary search and no rejection. Users who have all
    items have no negative and are left out.

    The order depends on (seed, epoch) and is shared by all ranks, each of which takes a slice of every global
    batch: W ranks with batch size B go through the same pairs, step by step, as one rank with batch size W B.
    All ranks have the same number of batches. Negatives depend on (seed, epoch, rank). Nothing needs saving.

    Args:
        train: training pairs, users x items.
        batch_size: triplets a batch and rank. The last batch may be smaller, or one larger where otherwise
            some rank would have none.
        seed: seed, not negative.
        rank: which of the ranks this is.
        world_size: how many ranks there are.

    Raises:
        ValueError: If an argument is out of range, or there are fewer triplets than ranks.
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
        self._keys = torch.from_numpy(rows * train.num_cols + train.indices - within)
        self._starts = torch.from_numpy(train.indptr[:-1].copy())
        self._num_negatives = torch.from_numpy(train.num_cols - degrees)
        usable = degrees[rows] < train.num_cols
        self._users = torch.from_numpy(rows[usable])
        self._items = torch.from_numpy(train.indices[usable])
        if not self.num_triplets:
            raise ValueError("no triplet to train on: every user has no training item or all items")
        if self.num_triplets < world_size:
            raise ValueError(f"{self.num_triplets} triplets are too few for {world_size} devices")

    @property
    def num_triplets(self) -> int:
        """Triplets an epoch, over all ranks."""
        return len(self._users)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose triplets the next iteration gives."""
        self.epoch = epoch

    def sample_negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one item outside of each user's training items, uniformly.

        Args:
            users: int64 of shape `(n,)`; none of them may have all items.
            generator: source of chance.

        Returns:
            Int64 tensor of shape `(n,)`.
        """
        uniform = torch.rand(len(users), dtype=torch.float64, generator=generator)
        place = uniform.mul_(self._num_negatives[users]).long()
        below = torch.searchsorted(self._keys, users * self.num_items + place, right=True)
        return place + below - self._starts[users]

    def __len__(self) -> int:
        """Batches an epoch, the same on every rank."""
        full, rest = divmod(self.num_triplets, self.batch_size * self.world_size)
        return full + (rest >= self.world_size or not full)

    def __iter__(self) -> Iterator[BPRBatch]:
        """Give the batches of the epoch; its seeds are fixed when the first one is asked for."""
        order = torch.randperm(self.num_triplets, generator=_make_generator(self.seed, self.epoch))
        generator = _make_generator(self.seed, self.epoch, self.rank + 1)
        # Drawn by user, before shuffling: neighbouring searches then share the cache, three times as fast.
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
        """Batches an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[BPRBatch]:
        """Give the batches of the sampler's epoch."""
        return iter(self.sampler)


def _make_generator(*key: int) -> torch.Generator:
    """Torch generator seeded from a few integers."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
