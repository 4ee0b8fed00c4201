"""Sizes that follow a distribution's quantiles and sum to a cap, in time that does not depend on the rows."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bet_lightning.methods.bet.families.distributions import DISTRIBUTIONS, SizeDistribution

_TOLERANCE = 1e-4  # of the bracket, squared columns a row: a mixture of its ends is then off by a thousandth of a row
_NEWTON_STEPS = 8
_PLACE_BITS, _KEY_BITS = 15, 47  # of the 63 that a number has: places of up to 32,767 columns
_MAX_STEPS = 60  # bisection alone halves the bracket below float64's resolution by then


def quantile_counts(
    kinds: Tensor, shapes: Tensor, num_rows: Tensor, caps: Tensor, *, min_size: int, max_size: int
) -> Tensor:
    """Return histograms of the sizes that follow a distribution's quantiles and sum to a cap.

    With draws scaled by s and rounded, ``num_rows * P(s x > d - 1/2)`` rows have at least size d. Two scales close to
    each other are found between which these tails sum to the cap; the mixture of their tails that sums to it exactly
    is floored, and what is left goes to the largest remainders.

    Args:
        kinds: (b,) int64 indices into ``DISTRIBUTIONS``.
        shapes: (b,) float64.
        num_rows: (b,) int64.
        caps: (b,) int64, within ``[min_size, max_size] * num_rows``.
        min_size: Smallest size of a row.
        max_size: Largest size of a row.

    Returns:
        (b, max_size) int64 counts of rows with size 1 to max_size; the sizes of each row of it sum to its cap.
    """
    order = kinds.argsort(stable=True)  # equal distributions side by side: slices instead of gathers
    kinds, shapes, num_rows, caps = kinds[order], shapes[order], num_rows[order], caps[order]
    real = _mix_to_caps(_Tails(kinds, shapes, num_rows.double(), min_size, max_size), caps.double())
    tail = real.floor().long()
    left = caps - tail.sum(1)
    by_remainder = _largest_first(real - tail)
    tail.scatter_add_(1, by_remainder, (torch.arange(max_size) < left[:, None]).long())
    counts = torch.empty_like(tail)
    counts[order] = tail - torch.nn.functional.pad(tail[:, 1:], (0, 1))
    return counts


def _largest_first(remainders: Tensor) -> Tensor:
    """Return (b, n) places of remainders in [0, 1), the largest of each row first, of equal ones the first.

    The places are part of the numbers that numpy sorts, several times as fast as a stable argsort.
    """
    keys = (1 - remainders).mul_(float(1 << _KEY_BITS)).long() * (1 << _PLACE_BITS) + torch.arange(remainders.shape[1])
    in_order: Tensor = torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return in_order % (1 << _PLACE_BITS)


class _Tails:
    """Rows of at least each size, as real numbers, for actions sorted by distribution."""

    def __init__(self, kinds: Tensor, shapes: Tensor, num_rows: Tensor, min_size: int, max_size: int) -> None:
        self.kinds, self.shapes, self.num_rows = kinds, shapes, num_rows
        self.min_size, self.max_size = min_size, max_size
        self.levels = torch.arange(1, max_size + 1, dtype=torch.float64) - 0.5
        self.counts = torch.bincount(kinds, minlength=len(DISTRIBUTIONS)).tolist()  # actions of each distribution

    def __call__(self, log_scale: Tensor) -> Tensor:
        """(b,) logarithms of the scales to (b, max_size) float64."""
        x = self.levels * torch.exp(-log_scale)[:, None]
        share = torch.cat([d.survival(part, shapes) for d, part, shapes in self._parts(x, self.shapes[:, None])])
        share[:, : self.min_size] = 1.0
        return share.mul_(self.num_rows[:, None])

    def _parts(self, x: Tensor, shapes: Tensor) -> Iterator[tuple[SizeDistribution, Tensor, Tensor]]:
        parts = zip(DISTRIBUTIONS, x.split(self.counts), shapes.split(self.counts), strict=True)
        return ((d, part, shape) for d, part, shape in parts if len(part))

    def subset(self, chosen: Tensor) -> "_Tails":
        """Return the same of some actions, by ascending indices."""
        kept = self.kinds[chosen], self.shapes[chosen], self.num_rows[chosen]
        return _Tails(*kept, self.min_size, self.max_size)

    def solve_unrounded(self, caps: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b,) log scales at which draws that are cut off at the bounds, but not rounded, sum to the cap.

        Newton's steps in the logit of the mean size between the bounds, which is nearly straight in the log scale.

        Returns:
            Log scales (b,) and the derivatives (b,) of the sum by the log scale.
        """
        low, high = float(self.min_size), float(self.max_size)
        target = (caps / self.num_rows).clamp(low + 1e-9, high - 1e-9)
        wanted = torch.logit((target - low) / (high - low))
        log_scale, slope = torch.log(target), torch.zeros_like(target)
        for _ in range(_NEWTON_STEPS):
            scale = torch.exp(log_scale)
            mean, slope = -scale * self._limited_mean(low / scale), low * self._survival(low / scale)
            mean = mean + scale * self._limited_mean(high / scale)  # beyond the lower bound
            slope = slope + mean - high * self._survival(high / scale)
            share = (mean / (high - low)).clamp(1e-12, 1 - 1e-12)
            rate = slope / (high - low) / (share * (1 - share))
            log_scale = log_scale + ((wanted - torch.logit(share)) / rate.clamp(min=0.05)).clamp(-3, 3)
        return log_scale, slope * self.num_rows

    def _limited_mean(self, x: Tensor) -> Tensor:
        return torch.cat([d.limited_mean(part, shapes) for d, part, shapes in self._parts(x, self.shapes)])

    def _survival(self, x: Tensor) -> Tensor:
        return torch.cat([d.survival(part, shapes) for d, part, shapes in self._parts(x, self.shapes)])


def _mix_to_caps(tails: _Tails, caps: Tensor) -> Tensor:
    """(b, max_size) mixtures of the tails at two neighbouring scales that sum to the caps."""
    num_rows = tails.num_rows
    # at scale 0 every row has the smallest size, at an infinite one the largest
    low = torch.zeros(len(caps), tails.max_size, dtype=torch.float64)
    low[:, : tails.min_size] = num_rows[:, None]
    high = num_rows[:, None].repeat(1, tails.max_size)
    lower, upper = torch.full_like(caps, -torch.inf), torch.full_like(caps, torch.inf)
    below, above = low.sum(1) - caps, high.sum(1) - caps
    tolerance = _TOLERANCE * num_rows * -below
    middle, slope = tails.solve_unrounded(caps)
    step = torch.zeros_like(caps)
    for turn in range(_MAX_STEPS):
        active = (-below * above > tolerance).nonzero().squeeze(1)
        if not len(active):
            break
        at = middle[active]
        found = tails.subset(active)(at)
        excess = found.sum(1) - caps[active]
        fits = excess <= 0
        for side, ends, gaps, chosen in ((low, lower, below, fits), (high, upper, above, ~fits)):
            side[active[chosen]], ends[active[chosen]], gaps[active[chosen]] = found[chosen], at[chosen], excess[chosen]
        # across the root by half as much again as the slope says, and further until both sides are known
        jump = 1.5 * excess.abs() / slope[active].clamp(min=1e-9)
        step[active] = torch.maximum(jump.clamp(1e-4, 1), 2 * step[active])
        outward = at + torch.where(fits, step[active], -step[active])
        share = below[active] / (below[active] - above[active]) if turn % 2 else 0.5
        inward = lower[active] + share * (upper[active] - lower[active])
        middle[active] = torch.where(inward.isfinite(), inward, outward)
    weight = (-below / (above - below).clamp(min=1e-300))[:, None]
    return low.mul_(1 - weight).add_(high.mul_(weight))
