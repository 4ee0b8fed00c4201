"""The four size distributions of BET (Sec. 4.3), each by its quantile and survival function.

The paper names the distributions and the range of their one shape parameter; the parametrisation here is:

- ``power_law``: density ``b x^(b-1)`` on [0, 1] (large b: nearly equal sizes; small b: few rows have almost all);
- ``truncated_exponential``: density proportional to ``exp(-x)`` on [0, b];
- ``truncated_normal``: the normal of mean b and unit deviation, truncated to [0, 2b];
- ``log_normal``: ``exp(b z)`` with z standard normal.

Only ratios of draws matter, since they are normalised to a share of the budget. ``E[min(X, x)]``, the limited expected
value, is the integral of the survival function from 0 to x: what draws cut off at x have left on average.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.special import ndtr, ndtri


class SizeDistribution(NamedTuple):
    """A positive distribution with one shape parameter.

    Attributes:
        name: Name, as written in ``actions.jsonl``.
        max_shape: The shape is uniform in (0, max_shape).
        quantile: ``(u, shape)`` to the value below which a share u of the draws lies, u in (0, 1).
        survival: ``(x, shape)`` to the share of draws above x >= 0.
        limited_mean: ``(x, shape)`` to the mean of draws cut off at x >= 0.
    """

    name: str
    max_shape: float
    quantile: Callable[[Tensor, Tensor], Tensor]
    survival: Callable[[Tensor, Tensor], Tensor]
    limited_mean: Callable[[Tensor, Tensor], Tensor]


def _power_quantile(u: Tensor, b: Tensor) -> Tensor:
    return u ** (1 / b)


def _power_survival(x: Tensor, b: Tensor) -> Tensor:
    return 1 - x.clamp(max=1) ** b


def _power_limited_mean(x: Tensor, b: Tensor) -> Tensor:
    x = x.clamp(max=1)
    return x * (1 - x**b / (b + 1))


def _exponential_quantile(u: Tensor, b: Tensor) -> Tensor:
    return -torch.log1p(u * torch.expm1(-b))


def _exponential_survival(x: Tensor, b: Tensor) -> Tensor:
    return ((torch.exp(-x) - torch.exp(-b)) / -torch.expm1(-b)).clamp(min=0)


def _exponential_limited_mean(x: Tensor, b: Tensor) -> Tensor:
    x = torch.minimum(x, b)
    return (-torch.expm1(-x) - x * torch.exp(-b)) / -torch.expm1(-b)


def _normal_quantile(u: Tensor, b: Tensor) -> Tensor:
    value: Tensor = b + ndtri(ndtr(-b) + u * (1 - 2 * ndtr(-b)))
    return value.clamp(min=0)


def _normal_survival(x: Tensor, b: Tensor) -> Tensor:
    share: Tensor = (ndtr(b - x) - ndtr(-b)) / (1 - 2 * ndtr(-b))
    return share.clamp(min=0)


def _normal_limited_mean(x: Tensor, b: Tensor) -> Tensor:
    x = torch.minimum(x, 2 * b)
    below: Tensor = ndtr(-b)
    # the integral of ndtr is z ndtr(z) + density(z)
    integral = b * (1 - below) - (b - x) * ndtr(b - x) + _density(b) - _density(b - x)
    mean: Tensor = (integral - x * below) / (1 - 2 * below)
    return mean


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _log_normal_quantile(u: Tensor, b: Tensor) -> Tensor:
    return torch.exp(b * ndtri(u))


def _log_normal_survival(x: Tensor, b: Tensor) -> Tensor:
    share: Tensor = ndtr(-torch.log(x) / b)
    return share


def _log_normal_limited_mean(x: Tensor, b: Tensor) -> Tensor:
    z = torch.log(x) / b
    mean: Tensor = x * ndtr(-z) + torch.exp(b.square() / 2) * ndtr(z - b)
    return mean


DISTRIBUTIONS = (
    SizeDistribution("power_law", 20.0, _power_quantile, _power_survival, _power_limited_mean),
    SizeDistribution(
        "truncated_exponential", 5.0, _exponential_quantile, _exponential_survival, _exponential_limited_mean
    ),
    SizeDistribution("truncated_normal", 20.0, _normal_quantile, _normal_survival, _normal_limited_mean),
    SizeDistribution("log_normal", 0.5, _log_normal_quantile, _log_normal_survival, _log_normal_limited_mean),
)
MIN_RELATIVE_SHAPE = 0.01  # below, a distribution degenerates to one point or to a single row
