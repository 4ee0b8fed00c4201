import torch

from bet_lightning.search.elastic import elastic_sizes


def test_sizes_are_log_uniform_and_repeatable() -> None:
    sizes = elastic_sizes(20_000, 63, 1.0, seed=1, step=7)
    assert sizes.equal(elastic_sizes(20_000, 63, 1.0, seed=1, step=7))
    assert not sizes.equal(elastic_sizes(20_000, 63, 1.0, seed=1, step=8))
    assert (int(sizes.min()), int(sizes.max())) == (1, 63)
    shares = [float(((sizes >= low) & (sizes < 2 * low)).float().mean()) for low in (1, 2, 4, 8, 16, 32)]
    torch.testing.assert_close(torch.tensor(shares), torch.full((6,), 1 / 6), atol=0.015, rtol=0)


def test_a_share_of_the_batches_is_cut() -> None:
    cut = [int(elastic_sizes(10, 8, 0.3, seed=0, step=step).sum()) < 80 for step in range(500)]
    assert 0.2 < sum(cut) / 500 < 0.4
