"""Sizes of rows, coded."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bet_lightning.serving.sizes import pack_sizes, sizes_by_number, unpack_sizes
from bet_lightning.table_format import TableFormat, TableShape


def test_sizes_come_back_from_as_many_bytes_as_are_counted() -> None:
    generator = random.Random(0)
    for _ in range(200):
        num_rows, width = generator.randint(2, 3000), generator.choice([1, 6, 64, 150])
        grid = generator.choice([each for each in (1, 2, 4, 8) if width % each == 0])
        filled = generator.choice([num_rows, generator.randint(1, num_rows)])
        sizes = np.zeros(num_rows, np.int64)
        rows = generator.sample(range(num_rows), filled)
        sizes[rows] = [grid * generator.randint(1, width // grid) for _ in rows]
        odd = generator.randint(1, width)
        sizes[rows[0]] = odd
        odd = odd if odd % grid else 0
        by_number = sizes_by_number(width, grid, odd)
        arrays = pack_sizes(sizes, by_number)
        np.testing.assert_array_equal(unpack_sizes(arrays, num_rows, filled, by_number), sizes)
        form, shape = TableFormat("int3", grid), TableShape(1, num_rows - 1, width)
        assert len(by_number) == form.num_sizes(width)
        assert sum(array.nbytes for array in arrays.values()) == form.coded_size_bytes(shape, filled)
        assert torch.from_numpy(sizes).count_nonzero() == filled


@pytest.mark.parametrize(("grid", "odd"), [(3, 0), (0, 0), (-1, 0), (2, 9), (2, -1), (2.0, 0), ("2", 0), (2, None)])
def test_grids_that_fit_no_width_are_refused(grid: object, odd: object) -> None:
    with pytest.raises(ValueError, match="fit no width of 8"):
        sizes_by_number(8, grid, odd)  # type: ignore[arg-type]
