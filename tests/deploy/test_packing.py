from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from bet_lightning.deploy.packing import byte_counts, describe, pack_tensors, read_weights, rival_bytes, write_table
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.precision import step_of
from bet_lightning.serving import PackedTable
from bet_lightning.serving.digits import unpack_digits
from bet_lightning.serving.header import HEADER
from bet_lightning.serving.packed_table import TENSORS
from bet_lightning.table_format import TableFormat
from tests.serving.conftest import BACKBONES, Packed, make_data, make_network, pack  # noqa: F401  (a fixture)


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_come_back(name: str, pack: Callable[..., Packed]) -> None:  # noqa: F811
    packed = pack(name)
    state = read_weights(PackedTable.load(packed.folder))
    other = make_network(name, packed.data, seed=5)
    other.load_state_dict(state)
    for index in range(len(other.tables)):
        assert other.masked_table(index).sizes.equal(packed.network.masked_table(index).sizes)
        assert other.table(index)().equal(packed.network.table(index)())
    for theirs, ours in zip(other.encode(), packed.network.encode(), strict=True):
        assert torch.as_tensor(theirs).equal(torch.as_tensor(ours))


@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
def test_values_and_sizes_are_what_the_budget_counts(
    name: str,
    dtype: Dtype,
    pack: Callable[..., Packed],  # noqa: F811
) -> None:
    network = pack(name, dtype=dtype).network
    counts = byte_counts(pack_tensors(network, make_data(), dtype))
    expected = TableFormat(dtype).num_bytes(network.shape, network.sizes)
    assert counts["values"] + counts["steps"] + counts["sizes"] == expected
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")


def test_every_tensor_is_counted(pack: Callable[..., Packed]) -> None:  # noqa: F811
    packed = pack("NGCF", ids="texts", dtype="int8")
    tensors = load_file(packed.folder / TENSORS)
    counts = byte_counts(tensors)
    assert counts["total"] == sum(value.nbytes for value in tensors.values())
    assert counts["graph"] < packed.data.train.nnz  # less than a byte each, among 700 items
    assert counts["dense_weights"] == 4 * 3 * 2 * (8 * 8 + 8)


def test_equal_sizes_take_no_space() -> None:
    data = make_data()
    network = make_network("MF", data)
    network.set_sizes(torch.full((760,), 3))
    assert "sizes" not in pack_tensors(network, data, "fp32")


def test_wide_rows_take_two_bytes() -> None:
    data = make_data()
    network = make_network("MF", data, max_size=300)
    network.set_sizes(torch.arange(760).clamp(1, 300))
    assert pack_tensors(network, data, "fp32")["sizes"].dtype == torch.uint16
    network.set_sizes(torch.arange(760).clamp(1, 256))
    assert pack_tensors(network, data, "fp32")["sizes"].dtype == torch.uint8


@pytest.mark.parametrize("dtype", LEVELS)
def test_levels_are_within_half_a_step_unless_they_are_the_last(dtype: Dtype) -> None:
    data, levels = make_data(), LEVELS[dtype]
    network = make_network("MF", data)
    with torch.no_grad():
        # rows far below the smallest step, too
        network.masked_table().weight.mul_(torch.logspace(-9, 3, 760).unsqueeze(1))
    tensors = pack_tensors(network, data, dtype)
    sizes, wanted = network.sizes, network.table()().detach()
    numbers = unpack_digits(tensors["values.0"].numpy(), levels, 0, int(sizes.sum()))
    order = torch.cat([(-sizes[:60]).argsort(stable=True), 60 + (-sizes[60:]).argsort(stable=True)])
    steps = torch.zeros(760)
    steps[order] = step_of(tensors["steps.0"])  # one a row: every row has values
    apart = steps.unsqueeze(1) * step_of(tensors["columns.0"])
    found = torch.zeros(760, 8)
    place = 0
    for rows in (order[:60], order[60:]):  # column after column of the users and then of the items
        for column in range(8):
            for row in rows[sizes[rows] > column].tolist():
                found[row, column] = (float(numbers[place]) - (levels - 1) / 2) * float(apart[row, column])
                place += 1
    assert place == len(numbers)
    kept = torch.arange(8) < sizes.unsqueeze(1)
    half = apart / 2
    is_last = (found.abs() - half * (levels - 1)).abs() <= 1e-6 * half * levels
    assert (((found - wanted).abs() <= half * 1.001) | is_last)[kept].all()


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_values_beyond_the_dtype_are_refused(dtype: Dtype) -> None:
    data = make_data()
    network = make_network("MF", data)
    with torch.no_grad():
        network.masked_table().weight[:] = 1e6 if dtype == "fp16" else float("inf")
    message = r"fp16 cannot hold values up to 1e\+06: take bf16" if dtype == "fp16" else "no numbers"
    with pytest.raises(ValueError, match=message):
        pack_tensors(network, data, dtype)


def test_other_forms_of_the_table() -> None:
    network = make_network("NeuMF", make_data())
    rivals = rival_bytes(network, 5 * 760 + 3, "fp16")
    assert rivals == {
        "dense_fp32": 4 * 760 * 16,
        "csr_fp32": 8 * network.num_used + 4 * 761 * 2,
        "uniform": 2 * 760 * 5,
    }


def test_a_table_replaces_a_table_and_nothing_else(pack: Callable[..., Packed], tmp_path: Path) -> None:  # noqa: F811
    packed = pack("MF")
    header = describe(packed.network, packed.data, 10**6, 10**7, "bf16") | {"softmax": None, "has_history": True}
    write_table(packed.folder, header, pack_tensors(packed.network, packed.data, "bf16"))
    assert PackedTable.load(packed.folder).dtype == "bf16"
    modes = {(packed.folder / name).stat().st_mode for name in (HEADER, TENSORS)}
    assert len(modes) == 1
    for name in ("table.old", "table.partial"):  # of the user's own
        (tmp_path / name).mkdir()
        write_table(packed.folder, header, pack_tensors(packed.network, packed.data, "bf16"))
    assert {path.name for path in tmp_path.iterdir()} == {"table", "table.old", "table.partial"}
    (packed.folder / "thesis.tex").write_text("ten years")
    with pytest.raises(ValueError, match=f"--output {packed.folder}: holds something else"):
        write_table(packed.folder, header, {})
    assert {path.name for path in packed.folder.iterdir()} == {HEADER, TENSORS, "thesis.tex"}


def test_what_was_there_stays_where_a_table_cannot_be_written(
    pack: Callable[..., Packed],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = pack("MF")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bet_lightning.deploy.packing.save_file", full)
    with pytest.raises(ValueError, match=r"table: cannot be written \(\[Errno 28\] No space left on device\)"):
        write_table(packed.folder, {}, {})
    assert PackedTable.load(packed.folder).dtype == "fp32"
    assert {path.name for path in tmp_path.iterdir()} == {"table"}
