import numpy as np
import pytest
import torch

from bet_lightning.data import RankingBatch, RankingLoader


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_match_the_matrices(small_split, batch_size):
    users = np.flatnonzero(small_split.valid.degrees())
    loader = RankingLoader(users, small_split.train, small_split.valid, batch_size)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert torch.cat([batch.users for batch in batches]).tolist() == users.tolist()
    for batch in batches:
        assert isinstance(batch, RankingBatch)
        assert all(tensor.dtype == torch.int64 for tensor in batch)
        for csr, rows, items in (
            (small_split.train, batch.seen_rows, batch.seen_items),
            (small_split.valid, batch.target_rows, batch.target_items),
        ):
            expected = [
                (row, item)
                for row, user in enumerate(batch.users.tolist())
                for item in csr.indices[csr.indptr[user] : csr.indptr[user + 1]].tolist()
            ]
            assert list(zip(rows.tolist(), items.tolist(), strict=True)) == expected


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_a_batch_splits_into_blocks(small_split, size):
    users = np.flatnonzero(small_split.valid.degrees())
    (whole,) = RankingLoader(users, small_split.train, small_split.valid, len(users))
    expected = list(RankingLoader(users, small_split.train, small_split.valid, size))
    blocks = whole.split(size)
    assert len(blocks) == len(expected)
    for block, other in zip(blocks, expected, strict=True):
        assert all(a.equal(b) for a, b in zip(block, other, strict=True))


def test_share_gives_the_first_batches(small_split):
    users = np.arange(small_split.num_users)
    loader = RankingLoader(users, small_split.train, small_split.test, 16)
    everything = [batch.users for batch in loader]
    loader.share = 0.3
    some = [batch.users for batch in loader]
    assert len(some) == len(loader) == -(-3 * len(everything) // 10)
    assert all(a.equal(b) for a, b in zip(some, everything[: len(some)], strict=True))


def test_ranks_share_the_users(small_split):
    users = np.arange(small_split.num_users)
    ranks = [RankingLoader(users, small_split.train, small_split.test, 16, rank, 7) for rank in range(7)]
    found = [user for loader in ranks for batch in loader for user in batch.users.tolist()]
    assert sorted(found) == users.tolist()


def test_batches_do_not_share_memory_with_the_data(small_split):
    users = np.arange(small_split.num_users)
    loader = RankingLoader(users, small_split.train, small_split.test, 16)
    next(iter(loader)).users.zero_()
    assert users.tolist() == list(range(small_split.num_users))


def test_no_users(small_split):
    loader = RankingLoader(np.empty(0, dtype=np.int64), small_split.train, small_split.test, 16)
    assert len(loader) == 0 and list(loader) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "data.eval_batch_size must be at least 1, got 0"),
        ((1, 1, 1), r"rank must be in \[0, 1\), got 1"),
    ],
)
def test_errors(small_split, arguments, message):
    with pytest.raises(ValueError, match=message):
        RankingLoader(np.arange(3), small_split.train, small_split.test, *arguments)
