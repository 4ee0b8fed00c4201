"""Whether methods differ: paired tests over users, corrected for their number, and intervals of the difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
_RESAMPLES = 2000
_CONFIDENCE = 0.95
_ELEMENTS_AT_ONCE = 1 << 22  # of resampled differences, 32 MiB


class Differences(NamedTuple):
    """How one method differs from its rivals; an entry a rival.

    Attributes:
        mean: ``(m,)`` mean over users of the method's metric minus the rival's.
        low: ``(m,)`` lower end of the mean's bootstrap interval.
        high: ``(m,)`` its upper end.
        t: ``(m,)`` p-values of the paired t-test, two-sided.
        wilcoxon: ``(m,)`` p-values of the Wilcoxon signed-rank test, two-sided.
    """

    mean: Floats
    low: Floats
    high: Floats
    t: Floats
    wilcoxon: Floats


def compare_users(method: Floats, rivals: Floats, seed: int = 0) -> Differences:
    """Compare a method with its rivals on the same users.

    The t-test is of the mean, which is what tables show; the signed-rank test asks for no normal differences. Users
    that a pair serves equally well are left out of the ranks (Wilcoxon's rule). A pair that serves all users equally
    well has p-values of 1.

    Args:
        method: ``(n,)`` metric of each user.
        rivals: ``(n, m)`` the same users' metric with each rival.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If there are fewer than two users.
    """
    differences = method[:, None] - rivals
    if len(differences) < 2:
        raise ValueError(f"a comparison needs the metrics of at least two users, got {len(differences)}")
    p_values = [np.ones(differences.shape[1]) for _ in range(2)]
    some = differences.any(0)  # neither test is defined where all are 0
    if some.any():
        found = stats.ttest_1samp(differences[:, some], 0.0).pvalue, stats.wilcoxon(differences[:, some]).pvalue
        for values, pvalue in zip(p_values, found, strict=True):
            values[some] = pvalue
    return Differences(differences.mean(0), *bootstrap_interval(differences, seed), *p_values)


def bootstrap_interval(differences: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return the 95 % percentile intervals of means over users (Efron's bootstrap, 2000 resamples).

    Args:
        differences: ``(n, m)`` differences of users; all columns share their resamples.
        seed: Seed of the resamples.

    Returns:
        Lower and upper ends, ``(m,)`` each.
    """
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _ELEMENTS_AT_ONCE // differences.size),
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def holm(p_values: Floats) -> Floats:
    """Correct p-values for the number of tests by Holm's step-down method (1979).

    The i-th smallest of m is multiplied by m - i + 1, and none becomes smaller than one before it.

    Args:
        p_values: ``(m,)`` p-values of the tests that are corrected together.

    Returns:
        ``(m,)``, in the order given.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected
