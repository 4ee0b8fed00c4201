import hashlib
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bet_lightning.dtypes import Dtype
from bet_lightning.serving import PackedRecommender, PackedTable
from bet_lightning.serving.header import HEADER, header_text
from bet_lightning.serving.ids import pack_ids
from bet_lightning.serving.packed_table import TENSORS
from tests.serving.conftest import BACKBONES, Packed

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


def sign(folder: Path, change: Change) -> None:
    """Change a table and give it sound checksums again."""
    header = json.loads((folder / HEADER).read_text())
    del header["sha256"]
    tensors = load_file(folder / TENSORS)
    change(header, tensors)
    save_file(tensors, folder / TENSORS)
    content = (folder / TENSORS).read_bytes()
    if isinstance(header.get("tensors"), dict):
        header["tensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / HEADER).write_text(header_text(header))


def refusal(folder: Path) -> str:
    """The line that a table is refused with."""
    with pytest.raises(ValueError) as caught:
        PackedRecommender.load(folder)
    assert str(caught.value).startswith(f"{folder}: not a sound packed table (")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_thousand_damaged_files_are_refused(name: str, pack: Callable[..., Packed], tmp_path: Path) -> None:
    """Bit flips, truncation, swapped and added bytes, of both files: 250 of each backbone's."""
    packed = pack(name, ids="texts", dtype={"LightGCN": "int3", "MF": "ternary", "NeuMF": "fp16", "NGCF": "int8"}[name])
    generator = np.random.default_rng(0)
    for trial in range(250):
        damaged = tmp_path / "damaged"
        shutil.copytree(packed.folder, damaged)
        path = damaged / (HEADER if trial % 2 else TENSORS)
        content = bytearray(path.read_bytes())
        place, other = generator.integers(len(content), size=2)
        match trial // 2 % 5:
            case 0 | 1:
                content[place] ^= 1 << int(generator.integers(8))
            case 2:
                del content[place:]
            case 3:
                content[place], content[other] = content[other], content[place] ^ 255
            case 4:
                content[place:place] = generator.bytes(int(generator.integers(1, 9)))
        path.write_bytes(content)
        refusal(damaged)
        shutil.rmtree(damaged)


def set_header(*keys: str, value: Any) -> Change:
    """A change of one entry of the header."""

    def change(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def set_tensor(name: str, value: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """A change of one tensor."""

    def change(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = value(tensors[name]).contiguous()

    return change


def raised(place: int, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Set one entry."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    return change


CHANGES: dict[str, tuple[Change, str]] = {
    "version": (set_header("version", value=3), "version 3, this is a reader of versions up to 2"),
    "no version": (lambda header, _: header.pop("version"), "there is no 'version'"),
    "dtype": (set_header("dtype", value="fp16"), "of F32, not"),
    "no such dtype": (set_header("dtype", value="fp8"), "another dtype"),
    "over budget": (set_header("budget", "params", value=10), "over the budget of 10"),
    "budget of no number": (set_header("budget", "params", value="10"), "no counts"),
    "more users": (set_header("dataset", "users", value=61), "sizes are not 761 of at most 8"),
    "half a user": (set_header("dataset", "users", value=60.5), "no counts"),
    "no items": (set_header("dataset", "items", value=0), "no counts"),
    "narrower": (set_header("backbone", "max_size", value=7), "sizes are not 760 of at most 7"),
    "two tables": (set_header("backbone", "num_tables", value=2), "values of 1 tables, not of 2"),
    "larger sizes": (set_header("smallest_size", value=1), "sizes are not 760 of at most 8"),
    "negative sizes": (set_header("smallest_size", value=-1), "no counts"),
    "another backbone": (set_header("backbone", "name", value="SVD"), "no way to score with the backbone 'SVD'"),
    "a list": (set_header("backbone", value=[]), "not a sound"),
    "no layers": (lambda header, _: header["backbone"].pop("num_layers"), "num_layers"),
    "a size beyond the cap": (set_tensor("sizes", raised(5, 200)), "sizes are not"),
    "a larger size": (set_tensor("sizes", lambda sizes: sizes.clamp(min=1)), "over the budget"),
    "a smaller size": (set_tensor("sizes", lambda sizes: sizes.clamp(max=7)), "values.0"),
    "sizes of floats": (set_tensor("sizes", torch.Tensor.float), "another dtype"),
    "fewer values": (set_tensor("values.0", lambda values: values[1:]), "values.0"),
    "half values": (set_tensor("values.0", torch.Tensor.half), "of F16, not"),
    "no number": (set_tensor("values.0", raised(3, float("nan"))), "not all finite"),
    "no values": (lambda _, tensors: tensors.pop("values.0"), "values of 0 tables, not of 1"),
    "other values": (
        lambda _, tensors: tensors.update({"values.1": tensors.pop("values.0")}),
        "there is no 'values.0'",
    ),
    "many tables": (set_header("backbone", "num_tables", value=1 << 30), "values of 1 tables"),
    "wide": (set_header("backbone", "max_size", value=10**9), "counts are too large"),
    "many users": (set_header("dataset", "users", value=10**9), "counts are too large"),
    "many items": (set_header("dataset", "items", value=(1 << 31) - 1), "counts are too large"),
    "many layers": (set_header("backbone", "num_layers", value=65_535), "counts are too large"),
    "no end of layers": (set_header("backbone", "num_layers", value=10**9), "counts are too large"),
    "fewer than no layers": (set_header("backbone", "num_layers", value=-1), "no counts"),
    "a layer more": (set_header("backbone", "num_layers", value=2), "dense.layers is not the header's num_layers"),
    "half a layer": (set_header("backbone", "num_layers", value=1.5), "no counts"),
    "a power beyond": (set_header("softmax", value={"norm_power": 1.5, "popularity_power": 0}), "not in [0, 1]"),
    "a negative power": (set_header("softmax", value={"norm_power": 1, "popularity_power": -1}), "not in [0, 1]"),
    "half of the powers": (set_header("softmax", value={"norm_power": 0.5}), "there is no 'popularity_power'"),
    "powers of a text": (set_header("softmax", value="both"), "not a sound"),
    "no softmax": (lambda header, _: header.pop("softmax"), "there is no 'softmax'"),
    "no word of a history": (lambda header, _: header.pop("has_history"), "there is no 'has_history'"),
    "a history of a number": (set_header("has_history", value=1), "has_history does not fit"),
    "no history": (
        lambda _, tensors: [tensors.pop(f"history.{n}") for n in ("quotients", "remainders")],
        "has_history",
    ),
    "a weight of integers": (set_tensor("dense.own_weight", torch.Tensor.int), "no weight"),
    "a weight beyond": (set_tensor("dense.own_weight", lambda weight: weight * 2), "own_weight is 2.0, which is no"),
    "two weights": (set_tensor("dense.own_weight", lambda weight: weight.repeat(2)), "own_weight is [1. 1.], which"),
    "letters of nothing": (set_tensor("user_ids.letters", lambda letters: letters * 0), "user_ids do not fit"),
    "long ids": (set_tensor("user_ids.lengths", lambda lengths: lengths.int() * 0 + 2000), "user_ids do not fit"),
    "fewer items": (set_tensor("graph.quotients", lambda quotients: quotients[1:]), "graph has other rows"),
    "others' items": (set_tensor("graph.quotients", lambda quotients: quotients.flip(0)), "graph has other rows"),
    "half an item": (set_tensor("graph.remainders", lambda remainders: remainders[1:]), "graph has other rows"),
    "a history of none": (set_tensor("history.quotients", lambda quotients: quotients[:0]), "history has other rows"),
    "no weight": (set_tensor("dense.own_weight", lambda weight: weight * torch.nan), "no weight"),
    "ids twice": (set_tensor("user_ids.letters", lambda letters: letters * 0 + 65), "user_ids"),
    "no graph": (lambda _, tensors: tensors.pop("graph.quotients"), "neither a graph nor popularity"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_signed_tables_that_do_not_fit_together_are_refused(what: str, pack: Callable[..., Packed]) -> None:
    packed, (change, message) = pack("LightGCN", ids="texts"), CHANGES[what]
    sign(packed.folder, change)
    assert message in refusal(packed.folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MF", set_tensor("popularity", lambda counts: counts.int()[1:])),
        ("MF", set_tensor("popularity", lambda counts: counts.view(-1, 1))),
        ("MF", set_tensor("popularity", torch.Tensor.float)),
        ("NeuMF", set_tensor("dense.output.weight", lambda weight: weight * torch.nan)),
        ("NeuMF", set_tensor("dense.tower.0.bias", raised(0, float("inf")))),
        ("NGCF", set_tensor("dense.sum_layers.1.weight", lambda weight: weight.log())),
        ("NeuMF", set_tensor("dense.output.weight", lambda weight: weight[:, 1:])),
        ("NeuMF", set_tensor("dense.tower.0.weight", lambda weight: weight[0])),
        ("NeuMF", lambda _, tensors: tensors.pop("dense.tower.0.weight")),
        ("NGCF", set_tensor("dense.sum_layers.1.weight", lambda weight: weight[1:])),
        ("NGCF", lambda _, tensors: tensors.pop("dense.product_layers.2.bias")),
    ],
)
def test_dense_weights_of_other_shapes_are_refused(name: str, change: Change, pack: Callable[..., Packed]) -> None:
    packed = pack(name)
    sign(packed.folder, change)
    refusal(packed.folder)


LEVEL_CHANGES: dict[str, tuple[Change, str]] = {
    "steps of other rows": (set_tensor("steps.0", lambda steps: steps[1:]), "there is no 'filled'"),
    "no scales": (lambda _, tensors: tensors.pop("columns.0"), "there is no 'columns.0'"),
    "other scales": (set_tensor("columns.0", lambda scales: scales[1:]), "columns.0 are"),
    "steps of floats": (set_tensor("steps.0", torch.Tensor.float), "over the budget"),
    "no steps": (lambda _, tensors: tensors.pop("steps.0"), "there is no 'steps.0'"),
    "fewer words": (set_tensor("values.0", lambda words: words[1:]), "words"),
    "more words": (set_tensor("values.0", lambda words: torch.cat([words, words[:1]])), "over the budget"),
    "other words": (set_tensor("values.0", lambda words: words.to(torch.int64)), "over the budget"),
    "no digits": (set_tensor("values.0", lambda words: words | torch.tensor(2**32 - 1, dtype=torch.uint32)), "no 11"),
    "fewer sizes": (set_tensor("sizes", lambda sizes: sizes[1:]), "words"),
    "sizes of bytes": (set_tensor("sizes", lambda sizes: sizes.to(torch.uint8)), "words"),
    "another dtype": (set_header("dtype", value="int4"), "words"),
    "another float": (set_header("dtype", value="fp16"), "another dtype"),
    "another grid": (set_header("size_grid", value=3), "fit no width"),
    "no grid": (set_header("size_grid", value=0), "fit no width"),
    "a grid of no number": (set_header("size_grid", value="1"), "fit no width"),
    "a coarser grid": (set_header("size_grid", value=4), "words"),
    "an odd size beyond": (set_header("odd_size", value=9), "fit no width"),
    "over the bytes": (set_header("budget", "bytes", value=100), "bytes are over the budget of 100"),
    "over the parameters": (set_header("budget", "params", value=100), "over the budget of 100"),
    "an older version": (set_header("version", value=1), "another dtype"),
}


@pytest.mark.parametrize("what", LEVEL_CHANGES)
def test_signed_tables_of_levels_that_do_not_fit_together_are_refused(what: str, pack: Callable[..., Packed]) -> None:
    packed, (change, message) = pack("MF", dtype="int3"), LEVEL_CHANGES[what]
    sign(packed.folder, change)
    assert message in refusal(packed.folder)


def numbers_of(header: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where a header has whole numbers."""
    if isinstance(header, dict):
        return [found for key, value in header.items() for found in numbers_of(value, (*path, key))]
    return [path] if type(header) is int else []


@pytest.mark.parametrize("name", BACKBONES)
def test_signed_headers_of_other_numbers_read_the_same_or_are_refused(
    name: str, pack: Callable[..., Packed], tmp_path: Path
) -> None:
    """Whole numbers of the header changed and signed again: 250 of each backbone's."""
    packed = pack(name, dtype={"LightGCN": "int3", "MF": "ternary", "NeuMF": "int8", "NGCF": "int2"}[name])
    users = np.arange(packed.data.num_users)
    expected = PackedRecommender.load(packed.folder).score(users)
    generator = np.random.default_rng(1)
    header = json.loads((packed.folder / HEADER).read_text())
    places = [path for path in numbers_of(header) if path[0] != "tensors"]
    for _ in range(250):
        damaged = tmp_path / "damaged"
        shutil.copytree(packed.folder, damaged)
        path = places[int(generator.integers(len(places)))]
        value = int(generator.choice([-1, 0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 61, 100, 701, 760, 65_535, 10**9, 1 << 40]))
        sign(damaged, set_header(*path, value=value))
        try:
            found = PackedRecommender.load(damaged).score(users)
        except ValueError:
            pass
        else:
            assert np.array_equal(found, expected), (path, value)
        shutil.rmtree(damaged)


@pytest.mark.parametrize("dtype", ["fp32", "int3"])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (name, keys)
        for name in BACKBONES
        for keys in (("dataset", "users"), ("dataset", "items"), ("backbone", "max_size"), ("backbone", "num_tables"))
    ],
    ids=str,
)
def test_nothing_is_allocated_for_counts_that_no_tensor_accounts_for(
    name: str, keys: tuple[str, ...], dtype: Dtype, pack: Callable[..., Packed]
) -> None:
    """Sizes that are all the same are not written, so that no tensor has a length of the header's."""
    packed = pack(name, dtype=dtype, sizes=torch.full((760,), 4))
    for value in (10**9, (1 << 31) - 1, (1 << 20) - 760, 1 << 16, (1 << 15) - 1):
        sign(packed.folder, set_header(*keys, value=value))
        tracemalloc.start()
        refusal_of_uniform = refuses(packed.folder)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50e6
        assert refusal_of_uniform or keys == ("backbone", "max_size")  # a wider table of floats may have narrow rows


def refuses(folder: Path) -> bool:
    """Whether a table is refused."""
    try:
        PackedRecommender.load(folder)
    except ValueError:
        return True
    return False


def test_rows_that_are_all_empty_are_refused(pack: Callable[..., Packed]) -> None:
    packed = pack("MF", sizes=torch.full((760,), 4))
    sign(packed.folder, set_header("smallest_size", value=0))
    assert "all rows are of size 0" in refusal(packed.folder)


@pytest.mark.parametrize("name", [HEADER, TENSORS])
@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "sparse"])
def test_what_is_no_regular_file_of_its_size_is_refused(name: str, kind: str, pack: Callable[..., Packed]) -> None:
    path = pack().folder / name
    path.unlink()
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "sparse":
            path.touch()
            os.truncate(path, 30 * 10**9)
    line = refusal(path.parent)
    expected = "header.json is too long" if name == HEADER else "truncated?"
    assert (expected if kind == "sparse" else f"{name} is no regular file") in line


@pytest.mark.parametrize(
    ("ids", "part"), [(["a", "b\0c"], r"NUL cannot be packed: 'b\\x00c'"), (["a\0"], "NUL"), (["a", "b" * 300], "300")]
)
def test_ids_that_could_not_be_read_back_are_not_packed(ids: list[str], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        pack_ids("user_ids", np.array(ids, object))


def test_signing_alone_changes_nothing(pack: Callable[..., Packed]) -> None:
    packed = pack("NeuMF")
    sign(packed.folder, lambda header, tensors: None)
    assert PackedTable.load(packed.folder).num_tables == 2


@pytest.mark.parametrize("name", [HEADER, TENSORS])
def test_missing_files_are_named(name: str, pack: Callable[..., Packed]) -> None:
    folder = pack().folder
    (folder / name).unlink()
    assert f"No such file or directory: '{folder / name}'" in refusal(folder)


def test_pairs_of_version_1_are_read(pack: Callable[..., Packed]) -> None:
    packed = pack("LightGCN")
    expected = PackedRecommender.load(packed.folder).recommend(np.arange(60), 5)
    pairs = PackedTable.load(packed.folder).pairs("graph")
    assert pairs is not None

    def change(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        header["version"] = 1
        del tensors["graph.quotients"], tensors["graph.remainders"]
        tensors["graph.counts"] = torch.from_numpy(pairs.counts)
        tensors["graph.items"] = torch.from_numpy(pairs.index)

    sign(packed.folder, change)
    found = PackedRecommender.load(packed.folder).recommend(np.arange(60), 5)
    assert all(np.array_equal(theirs, ours) for theirs, ours in zip(found, expected, strict=True))
