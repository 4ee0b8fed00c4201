"""What tests of pages look at: their elements, whether they ask for anything, and what a browser says of them."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """<script>for (const svg of document.querySelectorAll("figure svg")) {
const box = svg.getBoundingClientRect();
svg.dataset.drawn = [box.width > 200, box.height > 100, box.right <= innerWidth, svg.getBBox().width > 200].join();
}
document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;</script></body>"""


needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")


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


def assert_asks_for_nothing(text: str) -> None:
    """A page has no script and no address, and its ids are unique."""
    page = Page(text)
    assert not {"script", "link", "img", "image", "iframe", "object"} & set(page.tags)
    assert all(value.startswith("#") for name, value in page.attributes if name in ("src", "href"))
    assert "://" not in text and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", text))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a browser without a window; its document on stdout, its console on stderr."""
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    return subprocess.run(
        [*command, profile, *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )


def assert_is_drawn(page: Path, folder: Path, width: int) -> None:
    """A browser draws every figure within a window of that width, and has nothing to complain of.

    Args:
        page: The page.
        folder: Where a copy can be written.
        width: Pixels of the window.
    """
    assert "CONSOLE" not in browse(page).stderr
    text = page.read_text()
    measured = folder / "measured.html"
    measured.write_text(re.sub("<meta http-equiv.*?>", "", text).replace("</body>", MEASURE))
    done = browse(measured, f"--window-size={width},900")
    assert "CONSOLE" not in done.stderr
    drawn = re.findall('data-drawn="([^"]*)"', done.stdout)
    assert len(drawn) == text.count("<svg") > 0 and set(drawn) == {"true,true,true,true"}
    assert 'data-wide="false"' in done.stdout  # what is wider scrolls within the page
