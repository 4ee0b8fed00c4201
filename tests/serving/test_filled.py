"""Which rows have values, coded."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bet_lightning.serving.filled import pack_filled, unpack_filled
from bet_lightning.table_format import filled_bytes


def test_rows_come_back_from_as_many_bytes_as_are_counted() -> None:
    generator = random.Random(0)
    for _ in range(300):
        num_rows = generator.choice([1, 2, 7, 100, 1000, 20_000])
        rows = np.array(sorted(generator.sample(range(num_rows), generator.randint(0, num_rows))), np.int64)
        if len(rows) == num_rows:
            continue  # nothing is written
        code = pack_filled(rows, num_rows)
        assert code.dtype == np.uint8 and code.shape == (filled_bytes(num_rows, len(rows)),)
        np.testing.assert_array_equal(unpack_filled(code, num_rows, len(rows)), rows)


@pytest.mark.parametrize(("share", "bits"), [(0.5, 1.0), (0.1, 0.53), (0.05, 0.32), (0.01, 0.09)])
def test_few_rows_take_little(share: float, bits: float) -> None:
    num_rows = 70_000
    count = int(share * num_rows)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert entropy <= 8 * filled_bytes(num_rows, count) / num_rows <= bits + 0.001
    assert filled_bytes(num_rows, num_rows) == 0


def test_damage_is_refused_or_says_other_rows_in_order() -> None:
    generator = random.Random(0)
    rows = np.array(sorted(generator.sample(range(5000), 400)), np.int64)
    code, refused = pack_filled(rows, 5000), 0
    for _ in range(300):
        damaged = code.copy()
        damaged[generator.randrange(len(code))] ^= 1 << generator.randrange(8)
        try:
            found = unpack_filled(damaged, 5000, 400)
        except ValueError:
            refused += 1
            continue
        assert len(found) == 400 and found[0] >= 0 and found[-1] < 5000 and (np.diff(found) > 0).all()
    assert refused > 50


def test_other_lengths_are_refused() -> None:
    code = pack_filled(np.arange(0, 100, 10), 100)
    for wrong in (code[:-1], np.append(code, 0).astype(np.uint8), code.astype(np.int8), code.reshape(1, -1)):
        with pytest.raises(ValueError, match="10 of 100"):
            unpack_filled(wrong, 100, 10)
