import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bet_lightning.cli import main
from bet_lightning.runs.curves import CURVES, read_points
from bet_lightning.runs.folder import read_record, write_record
from bet_lightning.runs.html_report import REPORT, render, write_report
from tests.pages import Page, assert_asks_for_nothing, assert_is_drawn, needs_browser
from tests.runs.test_records import make_record, make_result

FIGURES = ["budgets", "sizes", "bytes", "fitness", "predictor", "training"]


def test_a_run_is_one_page_that_asks_for_nothing(finished_run: Path) -> None:
    text = (finished_run / REPORT).read_text()
    page = Page(text)
    assert list(page.figures) == FIGURES and all(page.figures.values())
    assert page.figures["fitness"] == 2  # by probes and by seconds
    assert_asks_for_nothing(text)


def test_says_what_the_run_was(finished_run: Path) -> None:
    text, record = (finished_run / REPORT).read_text(), read_record(finished_run)
    assert record.dataset["hash"] in text and "class_path: bet_lightning.methods.BET" in text
    assert all(f"<td>{version}</td>" in text for version in record.versions.values())
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "width=device-width" in text
    assert "within 25%, " in text
    for result in record.results:
        assert f"{result.valid['ndcg@20']:.4f}" in text
    assert [point.name for point in read_points(finished_run)][:2] == ["full", "full"]


def test_can_be_drawn_again_from_the_folder_alone(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(finished_run, folder, ignore=shutil.ignore_patterns("checkpoints", "logs", "plots", REPORT))
    assert write_report(folder) == folder / REPORT
    assert (folder / REPORT).read_text() == (finished_run / REPORT).read_text()


def test_what_a_run_lacks_is_left_out(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    without = shutil.ignore_patterns("checkpoints", "logs", "plots", CURVES, "frequency.txt", "actions.jsonl")
    shutil.copytree(finished_run, folder, ignore=without)
    assert list(Page(render(folder)).figures) == ["budgets", "bytes"]
    write_record(tmp_path, make_record())
    assert Page(render(tmp_path)).figures == {}
    with pytest.raises(ValueError, match="run `fit` first"):
        render(tmp_path / "nothing")


@pytest.mark.draws
def test_testing_adds_test_metrics(finished_run: Path, tmp_path: Path) -> None:
    assert "Results on test data" not in render(finished_run)
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    main(["test", "--config", str(folder / "config.yaml"), "--trainer.default_root_dir", str(folder)])
    text = (folder / REPORT).read_text()
    assert "Results on test data" in text and "On test data, within" in text
    assert Page(text).figures["budgets"] == 2
    assert f"{read_record(folder).results[0].test['ndcg@20']:.4f}" in text


def test_what_a_user_named_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&\"$x$')</script>"
    full, result = make_result("full", None, 0.2), make_result(f"{evil}@0.5", "0.5", 0.1)
    record = make_record(full, result)
    write_record(tmp_path, replace(record, dataset={**record.dataset, "name": evil}, backbone=evil))
    (tmp_path / "config.yaml").write_text(f"name: {evil}</pre>\n")
    text = render(tmp_path)
    page = Page(text)
    assert "script" not in page.tags and list(page.figures) == ["budgets", "bytes"]
    assert text.count("&lt;script&gt;") >= 5


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_record(tmp_path, make_record())
    (tmp_path / REPORT).mkdir()
    assert write_report(tmp_path) is None
    assert f"{REPORT}: cannot be written" in caplog.text


@needs_browser
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_draws_every_figure_and_has_nothing_to_complain_of(
    finished_run: Path, tmp_path: Path, width: int
) -> None:
    assert_is_drawn(finished_run / REPORT, tmp_path, width)
