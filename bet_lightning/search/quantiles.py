"""Sizes that follow a distribution's quantiles and sum to a cap, in time that does not depend on the rows."""

import torch
from torch import Tensor

from bet_lightning.search.distributions import DISTRIBUTIONS

_TOLERANCE = 1e-5  # share of the cap that may be left to the repair
_MAX_STEPS = 60  # bisection alone halves the bracket below float64's resolution by then


def quantile_counts(
    kinds: Tensor, shapes: Tensor, num_rows: Tensor, caps: Tensor, *, min_size: int, max_size: int
) -> Tensor:
    """Histograms of the sizes that follow a distribution's quantiles and sum to a cap.

    With draws scaled by s and rounded, ``num_rows * P(s x > d - 1/2)`` rows have at least size d. The scale at which
    these tails sum to the cap is found by false position, tails are floored, and what is left goes to the largest
    remainders.

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
    tails = _Tails(kinds, shapes, num_rows.double(), min_size, max_size)
    real = tails(_solve_scale(tails, caps.double()))
    tail = real.floor().long()
    left = caps - tail.sum(1)
    remainder = real - tail
    by_remainder = remainder.argsort(dim=1, descending=True, stable=True)
    promoted = torch.minimum(left, (remainder > 0).sum(1))
    tail.scatter_add_(1, by_remainder, (torch.arange(max_size) < promoted[:, None]).long())
    left = left - promoted
    if left.any():  # a distribution so narrow that no scale comes closer: promote the smallest rows
        above = num_rows
        for level in range(max_size):
            added = torch.minimum(left, above - tail[:, level])
            tail[:, level] += added
            left -= added
            above = tail[:, level]
    counts = torch.empty_like(tail)
    counts[order] = tail - torch.nn.functional.pad(tail[:, 1:], (0, 1))
    return counts


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
        parts = zip(DISTRIBUTIONS, x.split(self.counts), self.shapes[:, None].split(self.counts), strict=True)
        survivals = [d.survival(part, shapes) for d, part, shapes in parts if len(part)]
        share = torch.cat(survivals)
        share[:, : self.min_size] = 1.0
        return share.mul_(self.num_rows[:, None])

    def subset(self, chosen: Tensor) -> "_Tails":
        """The same of some actions, a (b,) mask or ascending indices."""
        kept = self.kinds[chosen], self.shapes[chosen], self.num_rows[chosen]
        return _Tails(*kept, self.min_size, self.max_size)

    def medians(self) -> Tensor:
        """(b,) median of each action's distribution."""
        half = torch.tensor(0.5, dtype=torch.float64)
        parts = zip(DISTRIBUTIONS, self.shapes.split(self.counts), strict=True)
        return torch.cat([d.quantile(half, shapes) for d, shapes in parts])


def _solve_scale(tails: _Tails, caps: Tensor) -> Tensor:
    """(b,) log scales whose tails sum to at most the cap and, where a scale allows it, nearly to the cap."""
    lower = torch.log(caps.clamp(min=0.5) / tails.num_rows / tails.medians())
    upper = lower + 0.5
    below, above = tails(lower).sum(1) - caps, tails(upper).sum(1) - caps
    step = 0.5
    while (outside := (below > 0) | (above < 0)).any() and step < 2**11:
        step *= 2
        lower, upper = (
            torch.where(below > 0, lower - step, torch.where(above < 0, upper, lower)),
            torch.where(above < 0, upper + step, torch.where(below > 0, lower, upper)),
        )
        part, part_caps = tails.subset(outside), caps[outside]
        below[outside] = part(lower[outside]).sum(1) - part_caps
        above[outside] = part(upper[outside]).sum(1) - part_caps
    # In logarithms of scale and total the curve is nearly straight, so false position is there in a few steps.
    tolerance = (_TOLERANCE * caps).clamp(min=1)
    low_gap, high_gap = torch.log1p(below / caps), torch.log1p(above / caps)
    fitted = torch.zeros(len(caps), dtype=torch.int8)  # 1 or -1: whether the step before fitted; 0: none yet
    for turn in range(_MAX_STEPS):
        active = (below < -tolerance).nonzero().squeeze(1)
        if not len(active):
            break
        low, high, low_at, high_at = lower[active], upper[active], low_gap[active], high_gap[active]
        middle = (low + high) / 2
        if turn % 4 < 3:  # an end that stays twice loses weight (Illinois); every fourth step halves the bracket
            share = low_at / (low_at - high_at)
            middle = torch.where(share.isfinite(), low + share.clamp(0, 1) * (high - low), middle)
        excess = tails.subset(active)(middle).sum(1) - caps[active]
        gap = torch.log1p(excess / caps[active])
        fits = excess <= 0
        lower[active], upper[active] = torch.where(fits, middle, low), torch.where(fits, high, middle)
        below[active] = torch.where(fits, excess, below[active])
        side = fits.to(torch.int8) * 2 - 1
        kept = torch.where(side == fitted[active], 0.5, 1.0)
        fitted[active] = side
        low_gap[active], high_gap[active] = (
            torch.where(fits, gap, low_at * kept),
            torch.where(fits, high_at * kept, gap),
        )
    return lower
