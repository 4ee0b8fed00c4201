"""What an agent remembers of earlier iterations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Remembered(NamedTuple):
    """Rows in an iteration, ``(b,)`` each.

    Attributes:
        rows: int64 numbers of rows.
        sizes: float32 sizes before it.
        ratios: float32 quality before it, relative to the full table's.
        actions: float32 sizes that were chosen for it.
        next_sizes: float32 sizes in it, once they were repaired.
        next_ratios: float32 quality in it, relative to the full table's.
    """

    rows: Tensor
    sizes: Tensor
    ratios: Tensor
    actions: Tensor
    next_sizes: Tensor
    next_ratios: Tensor


class Replay:
    """The last iterations, of which single rows are drawn.

    Args:
        num_rows: Rows, all of which are in every iteration.
        capacity: Iterations that are kept; the oldest gives way to the newest.

    Attributes:
        count: Iterations so far.
    """

    def __init__(self, num_rows: int, capacity: int) -> None:
        self.num_rows = num_rows
        self.count = 0
        self._kept = torch.zeros(capacity, 5, num_rows)

    def add(self, sizes: Tensor, ratios: Tensor, actions: Tensor, next_sizes: Tensor, next_ratios: Tensor) -> None:
        """Remember an iteration, ``(num_rows,)`` each: see :class:`Remembered`."""
        known = (sizes, ratios, actions, next_sizes, next_ratios)
        self._kept[self.count % len(self._kept)] = torch.stack([values.float() for values in known])
        self.count += 1

    def sample(self, num: int, generator: torch.Generator) -> Remembered:
        """Draw rows of iterations, with replacement."""
        iterations = torch.randint(min(self.count, len(self._kept)), (num,), generator=generator)
        rows = torch.randint(self.num_rows, (num,), generator=generator)
        return Remembered(rows, *self._kept[iterations, :, rows].unbind(1))

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""
        return {"kept": self._kept, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._kept.copy_(state["kept"])
        self.count = state["count"]
