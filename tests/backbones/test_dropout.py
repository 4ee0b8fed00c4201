import pytest
import torch

from bet_lightning.backbones.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_entries_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 333)  # not a multiple of four
    out = dropout(x, p, training=True)
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=5e-3)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=2e-4)
    # neighbours share a draw, and must be independent all the same
    pairs = out.flatten()[:-1].view(-1, 2) == 0
    assert float(pairs.all(1).float().mean()) == pytest.approx(p * p, abs=5e-3)


def test_gradient_passes_what_is_kept() -> None:
    x = torch.ones(40, 5, requires_grad=True)
    out = dropout(x, 0.5, training=True)
    out.sum().backward()
    assert x.grad is not None and x.grad.equal(out.detach())


def test_changes_nothing_in_evaluation_or_at_zero() -> None:
    x = torch.randn(6, 7)
    assert dropout(x, 0.5, training=False).equal(x)
    assert dropout(x, 0.0, training=True).equal(x)


def test_follows_the_global_seed() -> None:
    x = torch.ones(100)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dropout(x, 0.5, training=True))
    assert draws[0].equal(draws[1]) and not draws[0].equal(draws[2])
