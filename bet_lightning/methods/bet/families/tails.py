"""One side's spectrum, binned: what candidate sizes look like without looking at the rows."""

from __future__ import annotations

import torch
from torch import Tensor

_POPULARITY_GROUPS = 32
_ENERGY_GROUPS = 4  # within rows of similar popularity
_BINS_AN_OCTAVE = 8
_BINS = 256  # of the logarithm of gains: 32 octaves below the largest
_STEPS = 16  # of bisection over thresholds: from the widest interval, a few thousand bins, to a twentieth of one
_BLOCK = 8  # candidates that are counted at once: what is computed on the way stays in cache


class SpectrumTails:
    r"""Rows in groups of similar popularity and energy, and how many of each keep how many parameters at a threshold.

    A row keeps parameter j where its value :math:`\log_2 g_{nj} + b \log_2 f_n - c j` reaches the threshold (see
    ``Spectrum``). Gains are counted in bins of an eighth of an octave and frequencies stand for their group's mean, so
    that sizes by group follow from a threshold in O(groups x max_size), whatever the number of rows. Candidates are
    described this way; the one that is chosen is made exactly, from the rows.

    Args:
        log_gains: (num_rows, max_size) float32, base 2, not increasing along a row.
        log_popularity: (num_rows, 1) float32, base 2.

    Attributes:
        features: (num_groups, 2) float32, mean popularity and mean energy of a group's rows, over their largest.
    """

    def __init__(self, log_gains: Tensor, log_popularity: Tensor) -> None:
        self.num_rows, self.max_size = log_gains.shape
        popularity, energy = log_popularity[:, 0].exp2(), log_gains.exp2().sum(1)
        self.groups, num_groups = _group(popularity, energy)
        counts = torch.bincount(self.groups, minlength=num_groups).double()

        def mean(values: Tensor) -> Tensor:
            sums = torch.zeros(num_groups, dtype=torch.float64).index_add(0, self.groups, values.double())
            return sums / counts

        self.features = torch.stack([mean(v) / mean(v).max().clamp(min=1e-30) for v in (popularity, energy)], 1).float()
        self.shift = mean(log_popularity[:, 0]) * _BINS_AN_OCTAVE
        top = float(log_gains.max()) * _BINS_AN_OCTAVE
        bins = (log_gains * _BINS_AN_OCTAVE - top + _BINS).floor().clamp(0, _BINS - 1).long()
        flat = (self.groups[:, None] * self.max_size + torch.arange(self.max_size)) * _BINS + bins
        counted = torch.bincount(flat.flatten(), minlength=num_groups * self.max_size * _BINS)
        # tails[g, e, j]: rows of group g whose gain from parameter j lies in bin e or above; none beyond the last
        tails = counted.view(num_groups, self.max_size, _BINS).flip(2).cumsum(2).flip(2).float()
        self.tails = torch.nn.functional.pad(tails, (0, 1)).transpose(1, 2).contiguous()
        # where bin 0 of each group and parameter lies; int32 is twice as fast to look up
        starts = torch.arange(num_groups)[:, None] * self.tails[0].numel() + torch.arange(self.max_size)
        self._places = starts.int() if self.tails.numel() <= torch.iinfo(torch.int32).max else starts

    @property
    def num_groups(self) -> int:
        """Groups of rows."""
        return len(self.features)

    def counts(self, caps: Tensor, exponents: Tensor, penalties: Tensor, min_size: int) -> Tensor:
        """Return how many rows of each group have each size, for several candidates.

        Args:
            caps: (b,) int64 parameters of this side.
            exponents: (b,) float64, of the popularity.
            penalties: (b,) float64 octaves a column.
            min_size: Smallest size of a row.

        Returns:
            (b, max_size, num_groups) float32; real numbers, as the rows of one bin may be
            split. The sizes sum to the caps.
        """
        wanted = (caps - min_size * self.num_rows).float()
        blocks = zip(wanted.split(_BLOCK), exponents.split(_BLOCK), penalties.split(_BLOCK), strict=True)
        return torch.cat([self._counts(*block, min_size) for block in blocks])

    def count_rows(self, sizes: Tensor) -> Tensor:
        """Count the rows of each group with each size, exactly.

        Args:
            sizes: (num_rows,) integers, of this side's rows.

        Returns:
            (max_size, num_groups) float32, of sizes 1 to max_size.
        """
        flat = sizes.long() * self.num_groups + self.groups
        counts = torch.bincount(flat, minlength=(self.max_size + 1) * self.num_groups)
        return counts.view(self.max_size + 1, self.num_groups)[1:].float()

    def _counts(self, wanted: Tensor, exponents: Tensor, penalties: Tensor, min_size: int) -> Tensor:
        """Return the counts of a block of candidates, given the parameters (b,) that they have to choose."""
        steps = torch.arange(self.max_size) * _BINS_AN_OCTAVE
        # (b, groups, max_size): by how much the bins of one threshold differ
        offsets = ((penalties[:, None] * steps)[:, None] - (exponents[:, None] * self.shift)[:, :, None]).float()
        low, high = -_BINS - offsets.amax((1, 2)), _BINS + 1 - offsets.amin((1, 2))
        for _ in range(_STEPS):
            middle = (low + high) / 2
            fits = self._chosen(middle, offsets)[:, :, min_size:].sum((1, 2)) <= wanted
            low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
        # no threshold meets the number: a mixture of the two nearest does
        most, least = self._chosen(low, offsets), self._chosen(high, offsets)
        above, below = (chosen[:, :, min_size:].sum((1, 2)) for chosen in (most, least))
        share = ((wanted - below) / (above - below).clamp(min=1)).clamp(0, 1)[:, None, None]
        chosen = share * most + (1 - share) * least
        chosen[:, :, :min_size] = self.tails[:, 0, :min_size]
        sizes = chosen - torch.nn.functional.pad(chosen[:, :, 1:], (0, 1))
        return sizes.clamp(min=0).transpose(1, 2)  # rounding leaves a little less than nothing

    def _chosen(self, threshold: Tensor, offsets: Tensor) -> Tensor:
        """(b, groups, max_size) rows that keep each parameter at the thresholds (b,)."""
        bins = (threshold[:, None, None] + offsets).ceil_().clamp_(0, _BINS).to(self._places.dtype)
        places = bins.mul_(self.max_size).add_(self._places)
        return self.tails.flatten().index_select(0, places.flatten()).view(offsets.shape)


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
