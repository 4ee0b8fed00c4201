import pytest
import torch

from bet_lightning.backbones import MF, NeuMF
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.methods import FullAtBits
from bet_lightning.precision import step_of
from bet_lightning.table_format import TableShape
from bet_lightning.tables.quantized import QuantizedEmbedding
from tests.methods.compressing import COLUMNS, NUM_ROWS, only, run

# values that a word of 32 bits holds, and the bytes of 1680 of them with a step a row and a scale a column
DIGITS: dict[Dtype, int] = {"int8": 4, "int4": 8, "int3": 11, "int2": 16, "ternary": 20}
BYTES = {dtype: 4 * -(-NUM_ROWS * COLUMNS // digits) + NUM_ROWS + COLUMNS for dtype, digits in DIGITS.items()}


def test_takes_the_finest_levels_that_fit() -> None:
    method = FullAtBits(**only())
    assert BYTES == {"int8": 1898, "int4": 1058, "int3": 830, "int2": 638, "ternary": 554}
    assert method.least_bytes(TableShape(120, 90, COLUMNS)) == 554
    for dtype, num_bytes in BYTES.items():
        found = run(method, [num_bytes])
        table = found.problem.network.table()
        assert isinstance(table, QuantizedEmbedding) and table.dtype == dtype
        assert found.tasks[-1].num_bytes(found.problem.network) == num_bytes
        if dtype != "ternary":
            coarser = list(LEVELS)[list(LEVELS).index(dtype) + 1]
            assert run(method, [num_bytes - 1]).problem.network.dtype == coarser


def test_rounds_every_row_to_its_levels() -> None:
    found = run(FullAtBits("int2", **only()), [6000])
    held = found.problem.network.table()
    assert isinstance(held, QuantizedEmbedding)
    scales = step_of(held.columns)
    for row, full in zip(held().detach() / scales, found.pretrained / scales, strict=True):
        levels = row.unique()
        step = 2 * float(levels.abs().min())  # levels of two bits are at -3/2, -1/2, 1/2 and 3/2 steps
        positions = row / step + 1.5
        torch.testing.assert_close(positions, positions.round(), atol=1e-4, rtol=0)
        nearest = (full / step + 1.5).round().clamp(0, 3)
        torch.testing.assert_close(positions, nearest, atol=1e-4, rtol=0)


def test_is_trained_through_the_rounding() -> None:
    rounded, trained = (run(FullAtBits("ternary", **only(epochs)), [2000]) for epochs in (0, 4))
    quality = [found.results["full_at_bits"].quality for found in (rounded, trained)]
    assert quality[1] >= quality[0]  # the rounded table is validated too, and the best is kept
    assert trained.results["full_at_bits"].epochs == 4
    tables = [found.problem.network.table()() for found in (rounded, trained)]
    assert not tables[0].equal(tables[1])


def test_two_tables_are_counted_together() -> None:
    words = {dtype: 2 * (4 * -(-NUM_ROWS * COLUMNS // digits) + NUM_ROWS + COLUMNS) for dtype, digits in DIGITS.items()}
    found = run(FullAtBits(**only()), [words["int3"]], NeuMF)
    assert [table.dtype for table in found.problem.network.tables] == ["int3", "int3"]


def test_a_dtype_that_is_given_is_used_and_one_without_levels_refused() -> None:
    assert run(FullAtBits("int3", **only()), ["6000B"], MF).problem.network.dtype == "int3"
    with pytest.raises(ValueError, match=r"search\.method\.dtype must be one of int8, .*, ternary, got fp16"):
        FullAtBits("fp16")
