import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bet_lightning.serving.tensor_file import map_tensors


def write(path: Path, header: Any, content: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor([1.5], dtype=torch.bfloat16),
        "c": torch.tensor([-3, 4], dtype=torch.int8),
        "d": torch.tensor([65_000], dtype=torch.uint16),
        "e": torch.zeros(0, dtype=torch.int64),
        "f": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "t.safetensors", {"some": "metadata"})
    found = map_tensors(tmp_path / "t.safetensors")
    assert {name: stored.dtype for name, stored in found.items()} == dict(
        a="F32", b="BF16", c="I8", d="U16", e="I64", f="F32"
    )
    for name, stored in found.items():
        wanted = tensors[name].view(torch.uint16) if name == "b" else tensors[name]
        assert np.array_equal(stored.array, wanted.numpy())
        assert not stored.array.flags.writeable


def tensor(first: Any = 0, last: Any = 4, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "not a safetensors file"),
        ({"a": tensor(dtype="F64")}, "tensor 'a' has the dtype 'F64'"),
        ({"a": tensor(last=3)}, "tensor 'a' is not where"),
        ({"a": tensor(last=8, shape=[2])}, "tensor 'a' is not where"),
        ({"a": tensor(), "b": tensor()}, "tensor 'b' is not where"),
        ({"a": tensor(0, 0, [0])}, "4 bytes belong to no tensor"),
        ({"a": tensor(shape=[-1])}, r"shape are \[-1\]"),
        ({"a": tensor(first=True)}, "data_offsets are"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "not enough values"),
        ({"a": 3}, "data_offsets are None"),
    ],
)
def test_refuses_what_does_not_fit_together(header: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        map_tensors(write(tmp_path / "t", header, bytes(4)))


@pytest.mark.parametrize("content", [b"", b"\0" * 8, struct.pack("<Q", 100) + b"{}", b"\xff" * 40])
def test_refuses_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match="not a safetensors file"):
        map_tensors(tmp_path / "t")
