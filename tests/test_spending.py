from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from bet_lightning.allocation import allocate
from bet_lightning.budget import Budget
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.spending import spend
from bet_lightning.table_format import TableFormat, TableShape
from tests.test_table_format import DTYPES, random_shape


def from_weights(weights: Tensor, shape: TableShape, min_size: int, empty: Tensor, cap: int) -> Tensor:
    """Sizes in proportion to weights; where rows may be empty, some are."""
    if min_size or cap > shape.width * int((~empty).sum()):
        return torch.from_numpy(allocate(weights.numpy(), cap, min_size=min_size, max_size=shape.width))
    sizes = torch.zeros(shape.num_rows, dtype=torch.int64)
    sizes[~empty] = torch.from_numpy(allocate(weights[~empty].numpy(), cap, min_size=0, max_size=shape.width))
    return sizes


def spent_at_random(generator: random.Random) -> tuple[ResolvedBudget, TableFormat, Tensor] | None:
    """A random budget in bytes and the sizes that spend it in one of its formats."""
    shape = random_shape(generator, generator.choice([1, 1, 2]))
    min_size = generator.choice([0, 1])
    dtype = generator.choice([None, None, *DTYPES])
    try:
        budget = Budget(bytes=generator.randint(1, 4 * shape.params), dtype=dtype).resolve(shape, min_size)
    except ValueError:
        return None
    form = generator.choice(budget.formats)
    # every row that may not be empty gets a multiple of the grid
    assert budget.cap(form) >= min_size * form.grid * shape.num_rows, (budget, form)
    numbers = np.random.default_rng(generator.getrandbits(32))
    weights = torch.from_numpy(numbers.pareto(generator.uniform(0.3, 3), shape.num_rows))
    empty = torch.from_numpy(numbers.random(shape.num_rows) < generator.choice([0, 0.3, 0.9]))
    empty[generator.randrange(shape.num_rows)] = False
    sizes_for = partial(from_weights, weights, shape, min_size, empty)
    return budget, form, spend(sizes_for, budget, form)


def planned(form: TableFormat, budget: ResolvedBudget, sizes: Tensor, more: int = 0) -> int:
    """Bytes of sizes with some values more, written on the grid of their format; a coarser one may do for less."""
    shape, tables = budget.shape, budget.shape.num_tables
    values = sum(
        form.value_bytes(int(((sizes + tables - 1 - t) // tables).sum()) + (more if not t else 0))
        for t in range(tables)
    )
    return values + form.row_bytes(shape, int((sizes > 0).sum()), min_size=budget.min_size)


@pytest.mark.slow
def test_ten_thousand_budgets_are_kept_and_spent() -> None:
    """Less than a word a table is left over; with one table a value more never fits."""
    generator = random.Random(4)
    made = 0
    while made < 10_000:
        spent = spent_at_random(generator)
        if spent is None:
            continue
        made += 1
        budget, form, sizes = spent
        shape = budget.shape
        cost = form.num_bytes(shape, sizes)
        assert cost <= budget.bytes
        assert int(sizes.min()) >= budget.min_size and int(sizes.max()) <= shape.width
        assert int((sizes % form.grid != 0).sum()) <= 1
        if bool(((sizes == 0) | (sizes == shape.width)).all()):
            continue
        assert cost <= planned(form, budget, sizes)
        assert budget.bytes - planned(form, budget, sizes) < 4 * shape.num_tables
        assert shape.num_tables > 1 or planned(form, budget, sizes, 1) > budget.bytes
