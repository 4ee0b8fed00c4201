from __future__ import annotations

import random
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.allocation import allocate, on_grid, top_up
from bet_lightning.budget import Budget
from bet_lightning.dtypes import FLOAT_BYTES, LEVELS, Dtype
from bet_lightning.table_format import (
    TableFormat,
    TableShape,
    coarsest_grid,
    digits_a_word,
    formats_within,
    size_grid,
)

DTYPES = get_args(Dtype)


@pytest.mark.parametrize(
    ("base", "digits"), [(2, 32), (3, 20), (4, 16), (7, 11), (9, 10), (15, 8), (16, 8), (17, 7), (255, 4), (256, 4)]
)
def test_digits_of_a_word(base: int, digits: int) -> None:
    assert digits_a_word(base) == digits
    assert base**digits <= 2**32 < base ** (digits + 1)


def words(count: int, base: int) -> int:
    """Words of so many numbers, counted one by one."""
    found, held = 0, 0
    for _ in range(count):
        if held == 0:
            found, room = found + 1, 2**32
        room //= base
        held = held + 1 if room >= base else 0
    return found


def counted(form: TableFormat, shape: TableShape, sizes: list[int]) -> int:
    """Bytes of a table, counted row by row."""
    tables = shape.num_tables
    each = [[sum(column % tables == t for column in range(size)) for size in sizes] for t in range(tables)]
    differ = len(set(sizes)) > 1
    if form.dtype in FLOAT_BYTES:
        index = (1 if shape.width - min(sizes) < 256 else 2) * len(sizes) if differ else 0
        return FLOAT_BYTES[form.dtype] * sum(sizes) + index
    levels = LEVELS[form.dtype]
    total = sum(4 * words(sum(part), levels) for part in each)
    filled = sum(size > 0 for size in sizes)
    total += tables * filled + shape.width  # steps, and scales of columns
    if differ:
        grids = [grid for grid in (1, 2, 4, 8, 16, 32) if shape.width % grid == 0]
        grid = max(g for g in grids if g == 1 or sum(size % g > 0 for size in sizes) <= 1)
        total += 4 * words(filled, max(2, shape.width // grid + (grid > 1)))
        if filled < len(sizes):
            # a bit a row, or low bits of the rows' numbers and the rest in unary
            codes = [filled * (1 + low) + (len(sizes) - 1 >> low) + 1 for low in range(20)]
            total += -(-min(len(sizes), *codes) // 8)
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tables", [1, 2])
def test_bytes_are_those_of_a_count(dtype: Dtype, tables: int) -> None:
    generator = random.Random(0)
    for _ in range(60):
        rows, width = generator.randint(2, 30), tables * generator.choice([1, 2, 3, 6, 8, 32, 150])
        shape = TableShape(1, rows - 1, width, tables)
        grid = generator.choice([g for g in (1, 2, 4, 8, 16, 32) if width % g == 0])
        sizes = [grid * generator.randint(0, width // grid) for _ in range(rows)]
        if generator.random() < 0.3:
            sizes[0] = generator.randint(0, width)  # one may be of any size
        if generator.random() < 0.2:
            sizes = [sizes[0]] * rows
        found = TableFormat(dtype, grid).num_bytes(shape, torch.tensor(sizes))
        assert found == counted(TableFormat(dtype), shape, sizes)


def random_shape(generator: random.Random, tables: int) -> TableShape:
    users = generator.randint(1, 40)
    return TableShape(users, generator.randint(1, 40), tables * generator.choice([2, 6, 8, 16, 64]), tables)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tables", [1, 2])
def test_a_cap_in_bytes_is_the_most_that_fits(dtype: Dtype, tables: int) -> None:
    """Whatever sizes sum to the cap fit; with a word's worth more for every table, none do."""
    generator = random.Random(1)
    for _ in range(150):
        shape = random_shape(generator, tables)
        grid = 1 if dtype in FLOAT_BYTES else generator.choice([g for g in (1, 2, 4, 8) if shape.width % g == 0])
        form = TableFormat(dtype, grid)
        full = form.num_bytes(shape, torch.full((shape.num_rows,), shape.width))
        num_bytes = generator.randint(shape.num_rows // 2, full + 8)
        min_size = generator.choice([0, 1])
        filled = generator.choice([shape.num_rows, generator.randint(1, shape.num_rows)])
        cap = form.cap(shape, num_bytes, filled, min_size)
        if num_bytes >= full:
            assert cap == shape.params
            continue
        if cap < filled * grid:
            continue
        cap = min(cap, filled * shape.width) // grid * grid
        weights = [generator.random() for _ in range(filled)]
        sizes = torch.zeros(shape.num_rows, dtype=torch.int64)
        shares = allocate(weights, cap // grid, min_size=1, max_size=shape.width // grid) * grid
        sizes[:filled] = torch.from_numpy(shares)
        assert int((sizes > 0).sum()) == filled and int(sizes.sum()) == cap
        assert form.num_bytes(shape, sizes) <= num_bytes
        more = (1 if dtype in FLOAT_BYTES else tables * digits_a_word(LEVELS[dtype])) + grid
        room = (sizes[:filled] < shape.width).nonzero().squeeze(1)
        if int((shape.width - sizes[:filled]).sum()) > more and len(room):
            larger = top_up(sizes, more, 1, max_size=shape.width)
            if len(larger.unique()) > 1 and int((sizes == 0).sum()) + filled == shape.num_rows:
                written = form.row_bytes(shape, filled, min_size=min_size)
                per_value = sum(
                    form.value_bytes(int(((larger + tables - 1 - t) // tables).sum())) for t in range(tables)
                )
                assert written + per_value > num_bytes


@given(st.data())
def test_sizes_on_a_grid_keep_sum_and_bounds(data: st.DataObject) -> None:
    grid = data.draw(st.sampled_from([1, 2, 4, 8]))
    width = grid * data.draw(st.integers(1, 6))
    rows = data.draw(st.integers(1, 30))
    min_size = data.draw(st.sampled_from([0, 1]))
    low = min_size * grid * rows
    cap = data.draw(st.integers(low, rows * width))
    weights = data.draw(st.lists(st.floats(0, 100), min_size=rows, max_size=rows))
    sizes = torch.from_numpy(allocate(weights, cap, min_size=min_size, max_size=width))
    on = on_grid(sizes, grid, cap, min_size=min_size, max_size=width)
    assert bool((on % grid == 0).all()) and int(on.min()) >= min_size * grid and int(on.max()) <= width
    assert cap - grid < int(on.sum()) <= cap
    assert coarsest_grid(on, width) >= grid
    left = cap - int(on.sum())
    topped = top_up(on, left, grid, max_size=width)
    assert int(topped.sum()) <= cap and int(topped.max()) <= width and bool((topped >= on).all())
    assert int((topped % grid != 0).sum()) <= 1
    assert bool(((on > 0) == (topped > 0)).all())  # no row is filled that was empty
    if bool(((on > 0) & (on <= width - grid)).any()):
        assert int(topped.sum()) == cap


@given(st.data())
def test_top_up_hands_out_all_that_rows_can_take(data: st.DataObject) -> None:
    grid = data.draw(st.sampled_from([1, 2, 4]))
    units = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=20))
    sizes, width = torch.tensor(units) * grid, 4 * grid
    left = data.draw(st.integers(0, 2 * 4 * grid * len(units)))
    topped = top_up(sizes, left, grid, max_size=width)
    given, room = int((topped - sizes).sum()), int((width - sizes[sizes > 0]).sum())
    assert given <= min(left, room)
    assert min(left, room) - given < grid
    assert int((topped % grid != 0).sum()) <= 1


def test_sizes_take_a_tenth_of_a_budget_at_most() -> None:
    for rows, width in ((100, 64), (1_000, 128), (50, 32)):
        shape = TableShape(rows // 2, rows - rows // 2, width)
        for num_bytes in range(rows // 2, 40 * rows, rows // 2):
            grid = size_grid(shape, num_bytes, 0, "ternary")
            forms = [TableFormat("ternary", each) for each in (1, 2, 4, 8, 16, 32)]
            taken = {
                form.grid: form.coded_size_bytes(shape, form.typical_filled(shape, num_bytes, 0)) for form in forms
            }
            assert taken[grid] <= 0.1 * num_bytes or grid == 32
            assert grid == 1 or taken[grid // 2] > 0.1 * num_bytes


def test_coarser_formats_than_hold_the_full_table_are_left_out() -> None:
    generator = random.Random(2)
    for _ in range(100):
        shape = random_shape(generator, generator.choice([1, 2]))
        num_bytes = generator.randint(shape.num_rows, 4 * shape.params)
        forms = formats_within(shape, num_bytes, 0)
        holds = [form.cap(shape, num_bytes, min_size=0) == shape.params for form in forms]
        assert sum(holds) <= 1 and not any(holds[:-1])
        assert [form.dtype for form in forms] == [dtype for dtype in LEVELS if dtype in {form.dtype for form in forms}]


@pytest.mark.parametrize("dtype", [None, *DTYPES])
def test_the_smallest_budget_that_is_named_is_the_smallest(dtype: Dtype | None) -> None:
    generator = random.Random(3)
    for _ in range(60):
        shape, min_size = random_shape(generator, generator.choice([1, 2])), generator.choice([0, 1])
        with pytest.raises(ValueError, match=r"smallest feasible budget\.bytes is") as caught:
            Budget(bytes=1, dtype=dtype).resolve(shape, min_size)
        least = int(str(caught.value).rpartition(" ")[2])
        found = Budget(bytes=least, dtype=dtype).resolve(shape, min_size)
        assert found.typical_cap(found.plain) >= 1
        with pytest.raises(ValueError, match="too little"):
            Budget(bytes=least - 1, dtype=dtype).resolve(shape, min_size)
