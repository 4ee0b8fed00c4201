import re
from xml.etree import ElementTree

from matplotlib.axes import Axes

from bet_lightning.runs.style import FAINT, INK, draw
from bet_lightning.runs.svg import to_svg


def panel(axis: Axes) -> None:
    axis.plot([0, 1], [0, 1], "o-", label="<script> & $x")
    axis.axhline(0.5, color=FAINT)
    axis.set_xlabel("measure")


def test_stands_within_a_page_whatever_else_is_there() -> None:
    drawn = to_svg(draw([panel]), "first", 'a "title" <b>')
    root = ElementTree.fromstring(drawn)
    assert root.tag == "svg" and root.get("aria-label") == 'a "title" <b>'
    assert root.get("width") is None and [float(each) > 0 for each in root.get("viewBox", "").split()[2:]] == [True] * 2
    assert "://" not in drawn and "<script" not in drawn
    assert "<script> & $x" in [element.text for element in root.iter("text")]
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(each and each.startswith("first-") for each in ids)
    targets = set(re.findall(r'(?:url\(|href=")#([^)"]+)', drawn))
    assert targets and targets <= set(ids)
    other = to_svg(draw([panel]), "second", "")
    assert not set(ids) & {element.get("id") for element in ElementTree.fromstring(other).iter()}
    assert to_svg(draw([panel]), "first", 'a "title" <b>') == drawn


def test_colours_of_text_and_lines_are_those_of_the_page() -> None:
    drawn = to_svg(draw([panel]), "x", "")
    assert INK not in drawn and FAINT not in drawn
    assert "currentColor" in drawn and "var(--faint)" in drawn
    texts = list(ElementTree.fromstring(drawn).iter("text"))
    assert texts and all("fill: currentColor" in text.get("style", "") for text in texts)
