"""The full table at as many bits a value as a budget allows."""

from __future__ import annotations

import torch

from bet_lightning.allocation import Allocation
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.methods.compression import Compressed, Compression
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Epochs, Weights
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableFormat, TableShape


class FullAtBits(Compression):
    """Uniform quantisation of all values: every row whole, at the most levels that fit.

    The plain way to spend bytes: no row is cut, and nothing is searched. Values are rounded to evenly spaced levels
    around zero with a step a row, the one of least squared error, and trained through the rounding (straight-through,
    Bengio et al. 2013, arXiv 1308.3432), as BET's quantised tables are. ``Budget.dtype`` is without effect.

    Args:
        dtype: What a value is held as, one of those with levels. Default: the finest that fits each budget.
        pretrain: How the full table is trained.
        train: How long the rounded table may be trained; with 0 epochs it is only rounded.
        warm_schedule: Learning rate of that training (default: the recommender's from fresh weights).
        turned: See :class:`Compression`. Rows have one step for all columns, so that equally large ones suit them.

    Raises:
        ValueError: If the dtype has no levels.
    """

    rounds = True

    def __init__(
        self,
        dtype: Dtype | None = None,
        pretrain: PretrainSettings = PretrainSettings(),
        train: Epochs = Epochs(max_epochs=100),
        warm_schedule: LRSchedule | None = None,
        turned: bool = False,
    ) -> None:
        super().__init__("full_at_bits", pretrain, train, warm_schedule, turned)
        if dtype is not None and dtype not in LEVELS:
            raise ValueError(f"search.method.dtype must be one of {', '.join(LEVELS)}, got {dtype}")
        self.dtypes = [dtype] if dtype else list(LEVELS)  # the finest first

    def least_bytes(self, shape: TableShape) -> int:
        """Return the bytes of the full table at the fewest levels."""
        return _full(self.dtypes[-1], shape).num_bytes(shape)

    def compress(self, pretrained: Weights, budget: ResolvedBudget) -> Compressed:
        """Choose the finest levels that fit: see :meth:`Compression.compress`."""
        shape = budget.shape
        fitting = (_full(dtype, shape) for dtype in self.dtypes)
        return Compressed(
            pretrained, allocation=next(each for each in fitting if each.num_bytes(shape) <= budget.bytes)
        )


def _full(dtype: Dtype, shape: TableShape) -> Allocation:
    return Allocation(torch.full((shape.num_rows,), shape.width), TableFormat(dtype))
