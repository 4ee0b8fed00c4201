from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bet_lightning.budget import Dtype, packed_bytes
from bet_lightning.deploy.packing import byte_counts, describe, pack_tensors, read_weights, rival_bytes, write_table
from bet_lightning.serving import PackedTable
from bet_lightning.serving.packed_table import HEADER, TENSORS
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
        assert theirs.equal(ours)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
def test_values_and_sizes_are_what_the_budget_counts(
    name: str,
    dtype: Dtype,
    pack: Callable[..., Packed],  # noqa: F811
) -> None:
    network, num_tables = pack(name, dtype=dtype).network, 2 if name == "NeuMF" else 1
    counts = byte_counts(pack_tensors(network, make_data(), dtype))
    expected = packed_bytes(network.num_used, network.num_rows, network.row_width, dtype=dtype, num_tables=num_tables)
    assert counts["values"] + counts["sizes"] == expected
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")


def test_every_tensor_is_counted(pack: Callable[..., Packed]) -> None:  # noqa: F811
    packed = pack("NGCF", ids="texts", dtype="int8")
    tensors = load_file(packed.folder / TENSORS)
    counts = byte_counts(tensors)
    assert counts["total"] == sum(value.nbytes for value in tensors.values())
    assert counts["graph"] == 60 + 2 * packed.data.train.nnz  # a byte a user, two an item of 700
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


def test_int8_is_within_half_a_step() -> None:
    data = make_data()
    network = make_network("MF", data)
    with torch.no_grad():
        # rows far below the smallest scale, too
        network.masked_table().weight.mul_(torch.logspace(-9, 3, 760).unsqueeze(1))
    tensors = pack_tensors(network, data, "int8")
    scales = tensors["scales.0"].float()
    assert tensors["values.0"].abs().max() == 127
    sizes = network.sizes
    order = torch.cat([(-sizes[:60]).argsort(stable=True), 60 + (-sizes[60:]).argsort(stable=True)])
    kept = torch.arange(8) < sizes[order].unsqueeze(1)
    wanted, step = network.table()()[order], scales.unsqueeze(1).expand(-1, 8)
    found = tensors["values.0"].float() * step[kept]
    assert ((found - wanted[kept]).abs() <= step[kept] * 0.5001 + 1e-8).all()


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
    header = describe(packed.network, packed.data, 10**6, "bf16") | {"softmax": None, "has_history": True}
    write_table(packed.folder, header, pack_tensors(packed.network, packed.data, "bf16"))
    assert PackedTable.load(packed.folder).dtype == "bf16"
    modes = {(packed.folder / name).stat().st_mode for name in (HEADER, TENSORS)}
    assert len(modes) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"table"}
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
