"""What the search knows of the rows: their popularity, in descending order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def popularity_order(frequency: Tensor) -> Tensor:
    """Return row ids from the most to the least frequent, ties by id; (num_rows,) int64 to (num_rows,) int64."""
    return torch.argsort(frequency, descending=True, stable=True)


class PopularityProfile(NamedTuple):
    """One side's rows grouped by equal training frequency, most popular group first.

    Its length is the number of distinct frequencies, so that what is computed from it does not grow with the rows.

    Attributes:
        frequency: (num_groups,) float64, strictly descending.
        starts: (num_groups + 1,) int64, the popularity rank at which a group starts; the last is the row count.
    """

    frequency: Tensor
    starts: Tensor

    @classmethod
    def from_frequency(cls, frequency: Tensor) -> PopularityProfile:
        """Group rows by frequency.

        Args:
            frequency: (num_rows,) training interactions a row.
        """
        values, counts = torch.unique(frequency.double().cpu(), return_counts=True)
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.flip(0).cumsum(0)])
        return cls(values.flip(0), starts)

    @property
    def num_rows(self) -> int:
        """Rows of this side."""
        return int(self.starts[-1])

    @property
    def relative(self) -> Tensor:
        """(num_groups,) frequency over the largest frequency, f / max f, in [0, 1]."""
        return self.frequency / self.frequency[0].clamp(min=1)
