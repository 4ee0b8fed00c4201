from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bet_lightning.data import BPRBatch, Csr, TripletLoader, TripletSampler


def from_dense(dense):
    return Csr.from_pairs(*np.nonzero(dense), *dense.shape)


def collect(sampler):
    """Triplets of an epoch, (n, 3)."""
    return torch.cat([torch.stack(batch, dim=1) for batch in sampler])


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(2, 7))),
    st.integers(1, 9),
    st.integers(0, 5),
)
def test_epoch_has_every_pair_once_and_true_negatives(dense, batch_size, epoch):
    usable = dense & ~dense.all(axis=1, keepdims=True)
    if not usable.any():
        with pytest.raises(ValueError, match="no triplet to train on"):
            TripletSampler(from_dense(dense), batch_size, seed=0)
        return
    sampler = TripletSampler(from_dense(dense), batch_size, seed=0)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-usable.sum() // batch_size)
    assert all(len(batch.users) == batch_size for batch in batches[:-1])
    users, pos_items, neg_items = collect(sampler).T
    assert users.dtype == pos_items.dtype == neg_items.dtype == torch.int64
    assert sorted(zip(users.tolist(), pos_items.tolist(), strict=True)) == list(
        zip(*(axis.tolist() for axis in np.nonzero(usable)), strict=True)
    )
    assert not dense[users, neg_items].any()


@pytest.mark.parametrize("items", [[], [0], [9], [0, 1, 2], [7, 8, 9], [0, 2, 4, 6, 8], [1, 2, 3, 5, 6, 7, 8, 9]])
def test_negatives_are_uniform(items):
    dense = np.zeros((3, 10), dtype=bool)
    dense[0, ::3] = dense[2, :] = True
    dense[1, items] = True
    sampler = TripletSampler(from_dense(dense), batch_size=4, seed=0)
    draws = 8000
    negatives = sampler.sample_negatives(torch.ones(draws, dtype=torch.int64), torch.Generator().manual_seed(3))
    counts = np.bincount(negatives.numpy(), minlength=10)
    assert (counts[items] == 0).all()
    expected = draws / (10 - len(items))
    chi_square = ((np.delete(counts, items) - expected) ** 2 / expected).sum()
    assert chi_square < 30  # at most 9 degrees of freedom: p < 0.001


def test_single_user_with_one_negative():
    sampler = TripletSampler(from_dense(np.array([[True, False, True]])), batch_size=8, seed=0)
    assert sorted(map(tuple, collect(sampler).tolist())) == [(0, 0, 1), (0, 2, 1)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 600, 10_000])
def test_ranks_share_an_epoch(small_split, world_size, batch_size):
    samplers = [TripletSampler(small_split.train, batch_size, 5, rank, world_size) for rank in range(world_size)]
    batches = [list(sampler) for sampler in samplers]
    assert {len(rank) for rank in batches} == {len(samplers[0])}
    sizes = {len(batch.users) for rank in batches for batch in rank}
    assert min(sizes) > 0 and max(sizes) <= batch_size + 1
    pairs = Counter(
        pair for rank in batches for batch in rank for pair in zip(*map(torch.Tensor.tolist, batch[:2]), strict=True)
    )
    train = small_split.train
    assert pairs == Counter(zip(train.rows().tolist(), train.indices.tolist(), strict=True))


def test_ranks_go_through_the_same_global_batches(small_split):
    whole = next(iter(TripletSampler(small_split.train, 60, seed=1)))
    parts = [next(iter(TripletSampler(small_split.train, 20, 1, rank, 3))) for rank in range(3)]
    joined = torch.stack([part.users for part in parts], dim=1).flatten()
    torch.testing.assert_close(joined, whole.users, rtol=0, atol=0)
    assert not torch.equal(parts[0].neg_items, parts[1].neg_items)


def test_order_follows_seed_and_epoch(small_split):
    sampler = TripletSampler(small_split.train, 128, seed=1)
    first = collect(sampler)
    torch.testing.assert_close(collect(sampler), first, rtol=0, atol=0)
    sampler.set_epoch(1)
    second = collect(sampler)
    assert not torch.equal(first, second)
    torch.manual_seed(99)
    resumed = TripletSampler(small_split.train, 128, seed=1)
    resumed.set_epoch(1)
    torch.testing.assert_close(collect(resumed), second, rtol=0, atol=0)
    assert not torch.equal(collect(TripletSampler(small_split.train, 128, seed=2)), first)


def test_epoch_is_fixed_at_the_first_batch(small_split):
    sampler = TripletSampler(small_split.train, 128, seed=1)
    batches = iter(sampler)
    sampler.set_epoch(3)
    torch.testing.assert_close(next(batches), next(iter(sampler)), rtol=0, atol=0)


def test_loader(small_split):
    loader = TripletLoader(TripletSampler(small_split.train, 100, seed=0))
    loader.sampler.set_epoch(2)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(isinstance(batch, BPRBatch) for batch in batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "data.batch_size must be at least 1, got 0"),
        ((1, -1), "data.seed must not be negative, got -1"),
        ((1, 0, 2, 2), r"rank must be in \[0, 2\), got 2"),
        ((1, 0, 0, 3), "1 triplets are too few for 3 devices"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        TripletSampler(from_dense(np.array([[True, False]])), *arguments)
