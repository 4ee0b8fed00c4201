import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.methods.ciess.walk import SizeWalk
from bet_lightning.methods.tasks import generator_of


@given(low=st.integers(1, 5), num_sizes=st.integers(2, 40), reach=st.integers(1, 8), seed=st.integers(0, 99))
def test_walks_stay_on_their_graph(low: int, num_sizes: int, reach: int, seed: int) -> None:
    high = low + num_sizes - 1
    start = torch.arange(low, high + 1)
    path = SizeWalk(low, high, reach)(start, 6, generator_of(seed))
    assert path.shape == (num_sizes, 7) and path[:, 0].equal(start)
    assert path.min() >= low and path.max() <= high
    steps = path.diff(dim=1).abs()
    assert steps.min() >= 1 and steps.max() <= reach


@pytest.mark.parametrize("size", [1, 3, 10, 20])
def test_a_step_is_as_likely_as_it_is_short(size: int) -> None:
    low, high, reach, walks = 1, 20, 5, 40_000
    neighbours = [other for other in range(low, high + 1) if 1 <= abs(other - size) <= reach]
    total = sum(1 / abs(other - size) for other in neighbours)
    path = SizeWalk(low, high, reach)(torch.full((walks,), size), 1, generator_of(0))
    found = torch.bincount(path[:, 1], minlength=high + 1) / walks
    for other in range(low, high + 1):
        expected = 1 / abs(other - size) / total if other in neighbours else 0.0
        assert float(found[other]) == pytest.approx(expected, abs=4 * (0.25 / walks) ** 0.5)


def test_refuses_a_graph_without_edges() -> None:
    with pytest.raises(ValueError, match=r"at least two sizes, got 4\.\.4"):
        SizeWalk(4, 4, 5)
