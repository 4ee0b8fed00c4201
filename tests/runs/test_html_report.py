import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bet_lightning.cli import main
from bet_lightning.runs.curves import CURVES, read_points
from bet_lightning.runs.folder import read_record, write_record
from bet_lightning.runs.html_report import REPORT, render, write_report
from tests.runs.test_records import make_record, make_result

VOID = {"meta"}
FIGURES = ["budgets", "sizes", "bytes", "fitness", "predictor", "training"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """<script>for (const svg of document.querySelectorAll("figure svg")) {
const box = svg.getBoundingClientRect();
svg.dataset.drawn = [box.width > 200, box.height > 100, box.right <= innerWidth, svg.getBBox().width > 200].join();
}
document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;</script></body>"""


class Page(HTMLParser):
    """Checks that what opens is closed, and keeps what a test looks at.

    Attributes:
        tags: Names of all elements, in their order.
        attributes: All attributes of all elements.
        figures: Ids of figures, with how many drawings each has.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.figures: dict[str, int] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "figure":
            self.figures[dict(attrs)["id"] or ""] = 0
        if tag == "svg":
            self.figures[list(self.figures)[-1]] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_a_run_is_one_page_that_asks_for_nothing(finished_run: Path) -> None:
    text = (finished_run / REPORT).read_text()
    page = Page(text)
    assert list(page.figures) == FIGURES and all(page.figures.values())
    assert page.figures["fitness"] == 2  # by probes and by seconds
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(value.startswith("#") for name, value in page.attributes if name in ("src", "href"))
    assert "://" not in text and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", text))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


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


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a browser without a window; its document on stdout, its console on stderr."""
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    return subprocess.run(
        [*command, profile, *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_draws_every_figure_and_has_nothing_to_complain_of(
    finished_run: Path, tmp_path: Path, width: int
) -> None:
    assert "CONSOLE" not in browse(finished_run / REPORT).stderr
    text = (finished_run / REPORT).read_text()
    measured = tmp_path / "measured.html"
    measured.write_text(re.sub("<meta http-equiv.*?>", "", text).replace("</body>", MEASURE))
    done = browse(measured, f"--window-size={width},900")
    assert "CONSOLE" not in done.stderr
    drawn = re.findall('data-drawn="([^"]*)"', done.stdout)
    assert len(drawn) == text.count("<svg") > 0 and set(drawn) == {"true,true,true,true"}
    assert 'data-wide="false"' in done.stdout  # tables scroll within the page
