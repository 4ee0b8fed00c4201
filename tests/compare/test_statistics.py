import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bet_lightning.compare.statistics import bootstrap_interval, compare_users, holm


def make_users(count: int, *shifts: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What a method reaches, and rivals that are better by a shift on average."""
    rng = np.random.default_rng(seed)
    method = rng.random(count)
    return method, np.stack([method + shift + 0.1 * rng.standard_normal(count) for shift in shifts], 1)


def signed_rank_p(differences: np.ndarray) -> float:
    """The exact p-value: the share of all signs whose positive ranks sum to something as far from the middle."""
    ranks = np.abs(differences).argsort().argsort() + 1
    middle = ranks.sum() / 2
    found = abs(ranks[differences > 0].sum() - middle)
    signs = itertools.product((0, 1), repeat=len(ranks))
    return float(np.mean([abs(np.dot(each, ranks) - middle) >= found for each in signs]))


def permutation_p(differences: np.ndarray, rounds: int = 20_000) -> float:
    """The share of random signs whose mean is as far from 0: what a paired t-test comes to with many users."""
    signs = np.random.default_rng(1).choice((-1.0, 1.0), (rounds, len(differences)))
    means = signs @ differences / len(differences)
    return float((np.abs(means) >= abs(differences.mean())).mean())


def test_p_values_are_those_of_random_signs() -> None:
    method, rivals = make_users(9, 0.05, -0.1, 0.0)
    for rival, p_value in zip(rivals.T, compare_users(method, rivals).wilcoxon, strict=True):
        assert p_value == pytest.approx(signed_rank_p(method - rival))
    method, rivals = make_users(400, 0.005, -0.01, 0.0)
    found = compare_users(method, rivals)
    assert found.mean == pytest.approx([float(np.mean(method - rival)) for rival in rivals.T])
    for rival, p_value in zip(rivals.T, found.t, strict=True):
        assert p_value == pytest.approx(permutation_p(method - rival), abs=0.015)


def test_rivals_do_not_know_of_each_other_and_equals_do_not_differ() -> None:
    method, rivals = make_users(50, 0.02, -0.02)
    three = np.column_stack([rivals[:, 0], method, rivals[:, 1]])
    found = compare_users(method, three)
    for column in range(3):
        alone = compare_users(method, three[:, [column]])
        for many, one in zip(found, alone, strict=True):
            assert many[column] == pytest.approx(one[0])
    assert [float(values[1]) for values in found] == [0, 0, 0, 1, 1]  # mean, interval, both p-values
    opposite = compare_users(rivals[:, 0], method[:, None])
    assert opposite.mean[0] == -found.mean[0] and opposite.t[0] == found.t[0]
    with pytest.raises(ValueError, match="at least two users, got 1"):
        compare_users(method[:1], rivals[:1])


def test_intervals_are_those_of_the_mean_and_follow_the_seed() -> None:
    method, rivals = make_users(2000, 0.01)
    differences = method[:, None] - rivals
    low, high = bootstrap_interval(differences, 0)
    half = 1.96 * differences.std() / np.sqrt(2000)  # of a normal mean
    assert (low[0], high[0]) == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.1 * half)
    assert bootstrap_interval(differences, 0) == (low, high) != bootstrap_interval(differences, 1)


def test_intervals_cover_the_true_difference_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    low, high = bootstrap_interval(rng.exponential(1.0, (200, 400)), 0)
    assert 0.91 <= float(((low <= 1) & (high >= 1)).mean()) <= 0.98


@settings(max_examples=100, deadline=None)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), level=st.floats(0.001, 0.5))
def test_holm_rejects_from_the_smallest_until_one_fails(p_values: list[float], level: float) -> None:
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    corrected = holm(np.array(p_values))
    assert {index for index, value in enumerate(corrected) if value <= level} == rejected
    assert (corrected >= p_values).all() and corrected.max() <= 1
