from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

from bet_lightning.deploy.packing import describe, pack_tensors
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.serving import PackedRecommender, PackedTable
from bet_lightning.serving.level_rows import LevelRows
from bet_lightning.serving.packed_table import TENSORS
from bet_lightning.tables.quantized import QuantizedEmbedding
from tests.serving.conftest import Packed
from tests.serving.test_packed_table import refusal, set_tensor, sign


def dense(packed: Packed, table: int, dtype: Dtype) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What torch reads of a table of levels, the users' rows and the items'."""
    quantized = QuantizedEmbedding.from_masked(packed.network.masked_table(table), dtype)
    whole = quantized().detach().numpy()
    return whole[: packed.data.num_users], whole[packed.data.num_users :]


@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
@pytest.mark.parametrize("dtype", LEVELS)
def test_rows_are_those_of_the_table_in_torch(dtype: Dtype, name: str, pack: Callable[..., Packed]) -> None:
    packed = pack(name, dtype=dtype)
    table = PackedTable.load(packed.folder)
    generator = np.random.default_rng(0)
    for index in range(table.num_tables):
        for rows, expected in zip(table.rows(index), dense(packed, index, dtype), strict=True):
            assert isinstance(rows, LevelRows) and len(rows) == len(expected)
            some = generator.integers(len(expected), size=50)
            close = {"atol": 1e-6, "rtol": 1e-5}
            np.testing.assert_allclose(rows.gather(some), expected[some, : rows.width], **close)
            assert rows.gather(some[:0]).shape == (0, rows.width)
            for start, stop in ((0, 8), (0, 1), (3, 5), (7, 8)):
                np.testing.assert_allclose(rows.columns(start, stop), expected.T[start:stop], **close)
            found = np.zeros_like(expected)
            for places, values in rows.groups():
                found[rows.order[places], : values.shape[1]] = values
            np.testing.assert_allclose(found, expected, **close)


@pytest.mark.parametrize("dtype", LEVELS)
@pytest.mark.parametrize("sizes", [torch.full((760,), 8), torch.full((760,), 3), torch.arange(760) % 3 * 4])
def test_sizes_on_a_grid_and_all_alike_come_back(
    dtype: Dtype, sizes: torch.Tensor, pack: Callable[..., Packed]
) -> None:
    sizes = sizes.clone()
    if int(sizes[0]) == 0:
        sizes[100] = 5  # one may be off the grid
    packed = pack("LightGCN", dtype=dtype, sizes=sizes)
    table = PackedTable.load(packed.folder)
    assert np.array_equal(table.sizes, sizes.numpy())
    for rows, expected in zip(table.rows(), dense(packed, 0, dtype), strict=True):
        np.testing.assert_allclose(rows.columns(0, 8), expected.T, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["LightGCN", "MF", "NeuMF", "NGCF"])
@pytest.mark.parametrize("dtype", LEVELS)
def test_scores_are_those_of_quantised_tables(dtype: Dtype, name: str, pack: Callable[..., Packed]) -> None:
    packed = pack(name, dtype=dtype)
    packed.network.quantize(dtype)
    assert packed.network.dtype == dtype
    scores = PackedRecommender.load(packed.folder).score(np.arange(packed.data.num_users))
    expected = packed.network.score(packed.network.encode(), torch.arange(packed.data.num_users)).detach().numpy()
    np.testing.assert_allclose(scores, expected, atol=2e-5, rtol=1e-3)


def test_a_table_that_was_rounded_already_is_packed_as_it_is(pack: Callable[..., Packed]) -> None:
    packed = pack("LightGCN", dtype="int3")
    packed.network.quantize("int3")
    with torch.no_grad():
        table = packed.network.table()
        assert isinstance(table, QuantizedEmbedding)
        table.steps.sub_(5)  # not the steps of least error
    tensors = pack_tensors(packed.network, packed.data, "int3")
    filled = packed.network.sizes > 0
    assert tensors["steps.0"].sort().values.equal(table.steps[filled].sort().values)


@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
def test_int8_of_version_1_still_reads_right(name: str, pack: Callable[..., Packed]) -> None:
    """Rows one after another as int8, a float16 scale a row, one byte a size."""
    packed = pack(name)
    network, users = packed.network, packed.data.num_users
    sizes = network.sizes.numpy()
    order = np.concatenate(
        [np.argsort(-sizes[:users], kind="stable"), users + np.argsort(-sizes[users:], kind="stable")]
    )
    tensors = pack_tensors(network, packed.data, "fp32")
    expected = []
    for index in range(len(network.tables)):
        weight, each = network.table(index)().detach().numpy(), network.masked_table(index).sizes.numpy()
        scales = (np.abs(weight).max(1) / 127 * 1.001).astype(np.float16)
        numbers = (
            np.rint(weight / np.maximum(scales.astype(np.float32), 1e-30)[:, None]).clip(-127, 127).astype(np.int8)
        )
        tensors[f"values.{index}"] = torch.from_numpy(np.concatenate([numbers[row, : each[row]] for row in order]))
        tensors[f"scales.{index}"] = torch.from_numpy(scales[order])
        expected.append(numbers * scales.astype(np.float32)[:, None])
    tensors["sizes"] = torch.from_numpy((sizes - sizes.min()).astype(np.uint8))
    header = describe(network, packed.data, network.num_used, 10**6, "int8")
    old = {name: header[name] for name in ("dtype", "smallest_size", "budget", "backbone", "dataset")}
    save_file(tensors, packed.folder / TENSORS)

    def change(written: dict[str, object], _: dict[str, torch.Tensor]) -> None:
        for gone in ("size_grid", "odd_size"):
            written.pop(gone)
        written.update(old)
        written["version"] = 1

    sign(packed.folder, change)
    table = PackedTable.load(packed.folder)
    assert not table.has_levels and np.array_equal(table.sizes, sizes)
    for index, wanted in enumerate(expected):
        for rows, side in zip(table.rows(index), (wanted[:users], wanted[users:]), strict=True):
            np.testing.assert_allclose(rows.columns(0, 8), side.T, rtol=1e-6)
    scores = PackedRecommender.load(packed.folder).score(np.arange(users))
    exact = network.score(network.encode(), torch.arange(users)).detach().numpy()
    assert np.abs(scores - exact).max() < 0.02 * np.abs(exact).max()
    sign(packed.folder, set_tensor("scales.0", lambda scales: scales[1:]))
    assert "scales.0 are (759,) of F16, not one a row" in refusal(packed.folder)
