from pathlib import Path

import pytest
import yaml

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.entries import entries_of
from bet_lightning.compare.page import render_comparison, summarize
from bet_lightning.compare.plots import tradeoff_plot
from bet_lightning.compare.rows import rows_of
from bet_lightning.runs.folder import read_record
from tests.compare.test_heat_map import ROWS
from tests.pages import Page, assert_asks_for_nothing, assert_is_drawn, needs_browser

METHODS = {"bet": None, "<b>other</b>": {"x": 2}, "not_run": {"x": 3}}


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a comparison, all but one of whose cells were run."""
    folder = tmp_path_factory.mktemp("comparison")
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump({"axes": {"data": {"tiny": None}, "method": METHODS}}, sort_keys=False))
    comparison = Comparison.read(path)
    record, rows = read_record(finished_run), []
    for cell in comparison.cells[:2]:
        cell.folder(folder / "runs").parent.mkdir(exist_ok=True, parents=True)
        cell.folder(folder / "runs").symlink_to(finished_run)
        rows += [
            {**row, "recall@20": row["valid_recall@20"], "ndcg@20": row["valid_ndcg@20"]}
            for row in rows_of(cell, record, "ratio")
        ]
    entries, plot = entries_of(rows, comparison.axes), tradeoff_plot(rows)
    text = render_comparison(comparison, rows, entries, [], [plot] if plot else [], folder / "runs")
    (folder / "page.html").write_text(text)
    return folder / "page.html"


def test_a_comparison_is_one_page_that_asks_for_nothing(page: Path) -> None:
    text = page.read_text()
    assert_asks_for_nothing(text)
    assert Page(text).figures == {"sizes": 2, "fitness": 2, "predictor": 1}
    assert "2 of 3 cells are measured" in text and "not_run-seed0" in text
    assert "&lt;b&gt;other&lt;/b&gt;" in text and "<b>other" not in text
    assert "<b>0." in text  # the best of a budget


def test_says_who_is_best_how_often() -> None:
    axes = ("method", "backbone", "data")
    assert summarize([], 4, 3) == "1 of 4 cells are measured."
    rival = {**ROWS[0], "method": "rival", "ndcg@20": "0.5"}
    better = [{**row, "budget": budget} for row in (rival, *ROWS[:1]) for budget in ("0.3", "0.4")]
    ahead = {**better[-1], "ndcg@20": "0.9"}
    said = summarize(entries_of([*ROWS, rival, *better, ahead], axes), 4, 0)
    assert said == "4 of 4 cells are measured. By ndcg@20 on test data, rival is best at 2 of 3 budgets, ours at 1."


@needs_browser
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_draws_every_figure(page: Path, tmp_path: Path, width: int) -> None:
    assert_is_drawn(page, tmp_path, width)
