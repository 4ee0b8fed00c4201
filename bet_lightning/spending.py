"""Sizes that spend a budget in bytes, whatever rows they leave empty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bet_lightning.allocation import Allocation, on_grid, top_up
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.table_format import TableFormat

_ATTEMPTS = 10  # at how many parameters an action can have: each is made row by row
_ACCURACY = 0.002  # of that number: the rest is handed out to rows that have some


def spend_plainly(sizes_for: Callable[[int], Tensor], budget: ResolvedBudget) -> Allocation:
    """Return sizes that spend a budget in its plain format, for whoever looks for no format.

    Args:
        sizes_for: Returns sizes ``(num_rows,)`` that sum to a number of parameters.
        budget: The budget.
    """
    form = budget.plain
    return Allocation(sizes_for(budget.params) if form.is_float else spend(sizes_for, budget, form), form)


def spend(sizes_for: Callable[[int], Tensor], budget: ResolvedBudget, form: TableFormat) -> Tensor:
    """Return sizes that spend a budget in bytes: rows that are left empty leave their share to others.

    Args:
        sizes_for: Returns sizes ``(num_rows,)`` for a number of parameters.
        budget: The budget.
        form: What values are held as.

    Returns:
        ``(num_rows,)`` int64, within the budget.
    """
    width = budget.shape.width

    def make(cap: int) -> Tensor:
        return on_grid(sizes_for(cap), form.grid, cap, min_size=budget.min_size, max_size=width)

    def allowed(sizes: Tensor) -> int:
        return budget.cap(form, int((sizes > 0).sum()))

    low, sizes = 0, torch.zeros(budget.shape.num_rows, dtype=torch.int64)
    high, following = budget.cap(form, 1 if budget.min_size == 0 else None), budget.typical_cap(form)
    for _ in range(_ATTEMPTS):
        if high - low <= max(form.grid, _ACCURACY * low):
            break
        more = make(following)
        if int(more.sum()) <= allowed(more):
            low, sizes, high = following, more, min(high, allowed(more))
        else:
            high = following
        following = (low + high) // 2
    return top_up(sizes, allowed(sizes) - int(sizes.sum()), form.grid, max_size=width)
