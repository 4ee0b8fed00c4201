import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bet_lightning.methods.bet.families.distributions import DISTRIBUTIONS, MIN_RELATIVE_SHAPE
from bet_lightning.methods.bet.families.quantiles import quantile_counts


@settings(max_examples=200, deadline=None)
@given(
    cases=st.lists(
        st.tuples(
            st.integers(0, len(DISTRIBUTIONS) - 1),
            st.floats(MIN_RELATIVE_SHAPE, 1),
            st.integers(1, 10**6),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=8,
    ),
    min_size=st.integers(0, 1),
    max_size=st.integers(2, 140),
)
def test_any_batch_spends_its_caps_exactly(
    cases: list[tuple[int, float, int, float]], min_size: int, max_size: int
) -> None:
    kinds, shapes, num_rows, shares = zip(*cases, strict=True)
    caps = [round(n * (min_size + share * (max_size - min_size))) for n, share in zip(num_rows, shares, strict=True)]
    counts = quantile_counts(
        torch.tensor(kinds),
        torch.tensor([DISTRIBUTIONS[k].max_shape * s for k, s in zip(kinds, shapes, strict=True)], dtype=torch.float64),
        torch.tensor(num_rows),
        torch.tensor(caps),
        min_size=min_size,
        max_size=max_size,
    )
    assert (counts >= 0).all()
    assert (counts * torch.arange(1, max_size + 1)).sum(1).tolist() == caps
    counted = counts.sum(1).tolist()
    assert counted == list(num_rows) if min_size else all(c <= n for c, n in zip(counted, num_rows, strict=True))


def test_batches_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(len(DISTRIBUTIONS), (40,), generator=generator)
    shapes = torch.tensor([DISTRIBUTIONS[int(kind)].max_shape * 0.3 for kind in kinds], dtype=torch.float64)
    num_rows, caps = torch.full((40,), 1000), torch.randint(1000, 16_000, (40,), generator=generator)
    together = quantile_counts(kinds, shapes, num_rows, caps, min_size=1, max_size=16)
    alone = [
        quantile_counts(*(each[i : i + 1] for each in (kinds, shapes, num_rows, caps)), min_size=1, max_size=16)
        for i in range(40)
    ]
    assert together.equal(torch.cat(alone))


@pytest.mark.parametrize("kind", range(len(DISTRIBUTIONS)))
def test_draws_converge_to_quantiles(kind: int) -> None:
    num_rows, cap, max_size = 100_000, 800_000, 32
    shape = torch.tensor([0.4 * DISTRIBUTIONS[kind].max_shape], dtype=torch.float64)
    counts = quantile_counts(
        torch.tensor([kind]), shape, torch.tensor([num_rows]), torch.tensor([cap]), min_size=1, max_size=max_size
    )[0]
    draws = DISTRIBUTIONS[kind].quantile(
        torch.rand(num_rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64), shape
    )
    low, high = 0.0, 1e6
    for _ in range(60):  # the scale at which rounded draws spend the cap
        scale = (low + high) / 2
        rounded = (draws * scale).round().clamp(1, max_size).long()
        low, high = (scale, high) if rounded.sum() <= cap else (low, scale)
    expected = torch.bincount(rounded, minlength=max_size + 1)[1:]
    assert (counts - expected).abs().sum() / (2 * num_rows) < 0.01
