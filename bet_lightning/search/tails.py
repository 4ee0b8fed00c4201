"""One side's spectrum, binned: what candidate sizes look like without looking at the rows."""

from __future__ import annotations

import torch
from torch import Tensor

_POPULARITY_GROUPS = 32
_ENERGY_GROUPS = 4  # within rows of like popularity
_BINS_AN_OCTAVE = 8
_BINS = 256  # of the logarithm of gains: 32 octaves below the largest
_STEPS = 48  # of bisection over thresholds, from the widest interval to a hundredth of a bin


class SpectrumTails:
    r"""Rows in groups of like popularity and energy, and how many of each keep how many parameters at a threshold.

    A row keeps parameter j where :math:`\log_2 g_{nj} + b \log_2 f_n \ge t`. Gains are counted in bins of an eighth
    of an octave and frequencies stand for their group's mean, so that sizes by group follow from a threshold in
    O(groups x max_size), whatever the number of rows. Candidates are described this way; the one that is chosen is
    made exactly, from the rows.

    Args:
        gains: (num_rows, max_size) floats, not increasing along a row.
        popularity: (num_rows,) positive floats.

    Attributes:
        features: (num_groups, 2) float32, mean popularity and mean energy of a group's rows, over their largest.
    """

    def __init__(self, gains: Tensor, popularity: Tensor) -> None:
        self.num_rows, self.max_size = gains.shape
        self.groups, num_groups = _group(popularity, gains.sum(1))
        counts = torch.bincount(self.groups, minlength=num_groups).double()

        def mean(values: Tensor) -> Tensor:
            sums = torch.zeros(num_groups, dtype=torch.float64).index_add(0, self.groups, values.double())
            return sums / counts

        self.features = torch.stack([mean(v) / mean(v).max().clamp(min=1e-30) for v in (popularity, gains.sum(1))], 1)
        self.features = self.features.float()
        self.shift = mean(popularity.double().log2()) * _BINS_AN_OCTAVE
        logs = gains.clamp(min=torch.finfo(torch.float32).tiny).log2()
        self.top = float(logs.max()) * _BINS_AN_OCTAVE
        bins = (logs * _BINS_AN_OCTAVE - self.top + _BINS).floor().clamp(0, _BINS - 1).long()
        flat = (self.groups[:, None] * self.max_size + torch.arange(self.max_size)) * _BINS + bins
        counted = torch.bincount(flat.flatten(), minlength=num_groups * self.max_size * _BINS)
        # tails[g, j, e]: rows of group g whose gain from parameter j lies in bin e or above; none beyond the last
        tails = counted.view(num_groups, self.max_size, _BINS).flip(2).cumsum(2).flip(2).float()
        self.tails = torch.nn.functional.pad(tails, (0, 1))

    @property
    def num_groups(self) -> int:
        """Groups of rows."""
        return len(self.features)

    def counts(self, caps: Tensor, exponents: Tensor, min_size: int) -> Tensor:
        """How many rows of each group have each size, for several candidates.

        Args:
            caps: (b,) int64 parameters of this side.
            exponents: (b,) float64, of the popularity.
            min_size: Smallest size of a row.

        Returns:
            (b, max_size, num_groups) float32; real numbers, as the rows of one bin may be
            split. The sizes sum to the caps.
        """
        spare = self.tails[:, min_size:].sum(1)  # (groups, bins): parameters beyond the smallest size
        wanted = (caps - min_size * self.num_rows).float()
        reach = float(_BINS) + (exponents.abs() * self.shift.abs().max())
        low, high = -reach, reach + 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            fits = self._kept(spare, middle, exponents) <= wanted
            low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
        # no threshold cuts through a bin: a mixture of its two sides does
        most, least = self._kept(spare, low, exponents), self._kept(spare, high, exponents)
        share = ((wanted - least) / (most - least).clamp(min=1)).clamp(0, 1)[:, None, None]
        group = torch.arange(self.num_groups)
        chosen = share * self.tails[group, :, self._bins(low, exponents)]  # (b, groups, max_size)
        chosen = chosen + (1 - share) * self.tails[group, :, self._bins(high, exponents)]
        chosen[:, :, :min_size] = self.tails[:, :min_size, 0]
        sizes = chosen - torch.nn.functional.pad(chosen[:, :, 1:], (0, 1))
        return sizes.transpose(1, 2)

    def _kept(self, spare: Tensor, threshold: Tensor, exponents: Tensor) -> Tensor:
        """(b,) parameters at or above the thresholds (b,), from the parameters by group and bin."""
        return spare.gather(1, self._bins(threshold, exponents).T).sum(0)

    def _bins(self, threshold: Tensor, exponents: Tensor) -> Tensor:
        """(b, groups) lowest bins that reach the thresholds (b,)."""
        wanted = threshold[:, None] - exponents[:, None] * self.shift
        return wanted.ceil().long().clamp(0, _BINS)


def _group(popularity: Tensor, energy: Tensor) -> tuple[Tensor, int]:
    """Group (num_rows,) of each row, and how many there are; no group is empty.

    Rows of equal popularity stay together, neighbours in popularity are joined to groups of about equal size, and
    each of these is cut by energy.
    """
    _, place, counts = popularity.unique(return_inverse=True, return_counts=True)
    middle = (counts.cumsum(0) - counts / 2)[place] / len(popularity)
    by_popularity = (middle * _POPULARITY_GROUPS).long()
    order = energy.argsort(stable=True)
    order = order[by_popularity[order].argsort(stable=True)]  # by group, within it by energy
    sizes = torch.bincount(by_popularity)
    within = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[by_popularity[order]]
    groups = torch.empty_like(order)
    groups[order] = by_popularity[order] * _ENERGY_GROUPS + within * _ENERGY_GROUPS // sizes[by_popularity[order]]
    names, compact = groups.unique(return_inverse=True)
    return compact, len(names)
