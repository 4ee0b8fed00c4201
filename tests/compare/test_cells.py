from pathlib import Path

import pytest
import yaml

from bet_lightning.compare.cells import Comparison, merge

CONTENT = {
    "base": {"model": {"class_path": "A", "init_args": {"x": 1}}, "data": {"init_args": {"data_dir": "here"}}},
    "axes": {
        "data": {"small": {"data": {"init_args": {"name": "small"}}}, "large": {"data": {"init_args": {"name": "l"}}}},
        "method": {"own": None, "other": {"model": {"class_path": "B", "init_args": {"y": 2}}}},
    },
    "seeds": [0, 3],
}


def write(folder: Path, content: object) -> Path:
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_every_combination_is_a_cell(tmp_path: Path) -> None:
    comparison = Comparison.read(write(tmp_path, CONTENT))
    assert comparison.axes == ("data", "method")
    assert [cell.name for cell in comparison.cells] == [
        f"{data}-{method}-seed{seed}" for data in ("small", "large") for method in ("own", "other") for seed in (0, 3)
    ]
    settings = comparison.cells[3].settings
    assert settings["seed_everything"] == 3
    assert settings["data"] == {"init_args": {"data_dir": "here", "name": "small"}}
    assert settings["model"] == {"class_path": "B", "init_args": {"y": 2}}  # another class has its own arguments
    assert len({cell.key for cell in comparison.cells}) == 8


def test_a_key_follows_what_matters(tmp_path: Path) -> None:
    (first, *_) = Comparison.read(write(tmp_path, CONTENT)).cells
    moved = merge(CONTENT, {"base": {"data": {"init_args": {"data_dir": "there"}}, "trainer": {"devices": 2}}})
    changed = merge(CONTENT, {"base": {"model": {"init_args": {"x": 2}}}})
    (same, *_) = Comparison.read(write(tmp_path, moved)).cells
    (other, *_) = Comparison.read(write(tmp_path, changed)).cells
    assert first.key != other.key
    assert first.key == same.key  # where data lies and on how many devices it runs


def test_a_value_may_start_from_the_full_table_of_another(tmp_path: Path) -> None:
    plain = Comparison.read(write(tmp_path, CONTENT))
    content = merge(CONTENT, {"axes": {"method": {"other": {"starts_from": "own"}}}})
    comparison = Comparison.read(write(tmp_path, content))
    sources = {cell.name: comparison.source_of(cell) for cell in comparison.cells}
    assert sources["small-own-seed3"] is None
    for data in ("small", "large"):
        found = sources[f"{data}-other-seed3"]
        assert found is not None and found.name == f"{data}-own-seed3"
    assert [cell.key for cell in plain.cells] == [cell.key for cell in comparison.cells]  # the result is the same


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"axes": {"method": {"a": {"starts_from": "b"}}}}, "method a starts from b, which there is not"),
        ("nothing", "a comparison has base, axes, seeds, published, got str"),
        ({"axis": {}}, "a comparison has base, axes, seeds, published, got axis"),
        ({"published": "none.csv"}, r"published .*none\.csv: no such file"),
        ({"axes": {"data": []}}, r"axis data needs named values, got \[\]"),
    ],
)
def test_refuses_other_files(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Comparison.read(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: not a comparison"):
        Comparison.read(tmp_path / "none.yaml")
