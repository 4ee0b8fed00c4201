"""Notebooks are committed without what they print; `pytest --nbmake notebooks` executes them."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_outputs_are_stripped(path: Path) -> None:
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_links_between_notebooks(path: Path) -> None:
    text = path.read_text()
    linked = {name.partition(")")[0] for name in text.split("](")[1:] if name.partition(")")[0].endswith(".ipynb")}
    assert all((path.parent / name).is_file() for name in linked)
