import pytest
import torch

from bet_lightning.backbones.dropout import draw_dropped, keep_share

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_a_share_of_entries_independently(p: float) -> None:
    torch.manual_seed(0)
    dropped = draw_dropped((1001, 333), p, CPU)  # not a multiple of four
    assert dropped.shape == (1001, 333) and dropped.dtype == torch.bool
    assert float(dropped.float().mean()) == pytest.approx(p, abs=5e-3)
    assert keep_share(p) == pytest.approx(1 - p, abs=1e-5)
    # neighbours share a draw, and must be independent all the same
    pairs = dropped.flatten()[:-1].view(-1, 2)
    assert float(pairs.all(1).float().mean()) == pytest.approx(p * p, abs=5e-3)


def test_drops_nothing_at_zero() -> None:
    assert not draw_dropped((40, 5), 0.0, CPU).any()
    assert keep_share(0.0) == 1


def test_follows_the_global_seed() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(draw_dropped((100,), 0.5, CPU))
    assert draws[0].equal(draws[1]) and not draws[0].equal(draws[2])
