from pathlib import Path

import pytest

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.entries import METRICS, entries_of
from bet_lightning.compare.heat_map import relative_plot, relative_to_published
from bet_lightning.compare.rows import Row, read_rows

RESULTS = Path(__file__).parents[2] / "configs" / "results"
AXES = ("method", "backbone", "data")


def row(method: str, budget: str, recall: float, ndcg: float, **values: str) -> Row:
    metrics = {"recall@20": str(recall), "ndcg@20": str(ndcg)}
    named = {"data": "small", "backbone": "MF", "method": method, "result": "bet", "budget": budget, "seed": "0"}
    return {**named, **metrics, **values}


PUBLISHED = [row("bet", "0.2", 0.2, 0.4), row("bet", "0.1", 0.1, 0.2), row("pep", "0.2", 0.1, 0.2)]
ROWS = [
    row("ours", "0.2", 0.21, 0.4),
    row("ours", "0.2", 0.23, 0.4, seed="1"),
    row("ours", "0.05", 0.2, 0.2),  # nothing is published for it
    row("ours", "0.1", 0.1, 0.1, data="large"),
    row("ours", "", 0.3, 0.3, result="full"),
]


def test_cells_are_relative_to_published_bet_at_the_same_budget() -> None:
    entries = entries_of(ROWS, AXES)
    recall, ndcg = (relative_to_published(entries, AXES, PUBLISHED, metric) for metric in METRICS)
    place = ("small", "MF", "0.2")
    assert recall == {"ours": {place: pytest.approx(0.1)}, "pep (published)": {place: pytest.approx(-0.5)}}
    assert ndcg == {"ours": {place: pytest.approx(0.0)}, "pep (published)": {place: pytest.approx(-0.5)}}


def test_draws_where_there_is_something_to_compare(tmp_path: Path) -> None:
    assert relative_plot(entries_of(ROWS[2:], AXES), AXES, PUBLISHED) is None
    plot = relative_plot(entries_of(ROWS, AXES), AXES, PUBLISHED)
    assert plot
    recall, ndcg = plot.draw().axes
    assert [label.get_text() for label in recall.get_yticklabels()] == ["ours", "pep (published)"]
    assert [text.get_text() for text in recall.texts] == ["+10", "-50", "small\nMF"]
    assert [text.get_text() for text in ndcg.texts][:2] == ["+0", "-50"]
    plot.save(tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_the_published_table_has_the_cells_of_ours() -> None:
    comparison = Comparison.read(RESULTS / "table1.yaml")
    assert comparison.published
    published = read_rows(comparison.published)
    ours = {(cell.values["data"], cell.values["backbone"]) for cell in comparison.cells}
    for method in {each["method"] for each in published}:
        places = {(each["data"], each["backbone"], each["budget"]) for each in published if each["method"] == method}
        assert places == {(*place, budget) for place in ours for budget in ("0.2", "0.1", "0.05")}
    for each in published:  # larger budgets and longer lists are never far worse: no misprint is left
        assert 0 < float(each["recall@5"]) < float(each["recall@20"]) < 0.2
        assert 0 < float(each["ndcg@5"]) < 0.2 and 0 < float(each["ndcg@20"]) < 0.2
