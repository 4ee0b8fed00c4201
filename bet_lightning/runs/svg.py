"""Figures as SVG elements that stand within a page, in its light and its dark colours."""

import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from bet_lightning.runs.style import FAINT, INK

_FAMILY = re.compile(r"(font:[^;]*?[\d.]+px)[^;]*")
_REFERENCE = re.compile(r"url\(#|^#")
_COLORS = {INK: "currentColor", FAINT: "var(--faint)"}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def to_svg(figure: Figure, name: str, title: str) -> str:
    """Return a figure as an ``<svg>`` element: no namespaces, no addresses, text as escaped text, ids of its own.

    Args:
        figure: The figure; its background becomes that of the page.
        name: Begins all ids, so that several figures can be in one page: letters, digits and hyphens.
        title: What it shows, for those who do not see it.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag.endswith("}metadata")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _adapt(_local(key), value, name) for key, value in element.attrib.items()}
    for absolute in ("width", "height", "version"):
        root.attrib.pop(absolute, None)
    root.attrib |= {"role": "img", "aria-label": title}
    return ElementTree.tostring(root, "unicode")


def _local(qualified: str) -> str:
    return qualified.rpartition("}")[2]


def _adapt(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    value = _REFERENCE.sub(lambda match: f"{match.group()}{name}-", value)
    if key == "style":
        value = _FAMILY.sub(r"\1 system-ui, sans-serif", value)
        for color, stands_for in _COLORS.items():
            value = value.replace(color, stands_for)
    return value
