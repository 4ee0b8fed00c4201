"""One style for every picture: colours that all people tell apart, quiet axes, legends outside of data."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bet_lightning.replacing import replacing

INK, FAINT = "#3d3d3d", "#b3b3b3"  # text and axes; lines that guide the eye
# Okabe and Ito's colours, which people of any colour vision tell apart, each with a marker, then again with others
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, "#8a8a8a")
_MARKERS = "os^DvPX*<>hpd8"
_LINES = ("-", "--", ":")  # of the first names, of those whose colours are taken, and of those beyond
_WIDTH = 4.6  # inches of a panel
_LINE = 64  # characters of a legend that a panel is wide
_RC = {
    **{"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8},
    **{"lines.markersize": 4.5, "lines.linewidth": 1.4, "text.parse_math": False},  # names are no formulae
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}

Panel = Callable[[Axes], None]


class Style(TypedDict):
    """What tells a line from others, as matplotlib's arguments."""

    color: str
    marker: str
    linestyle: str


@dataclass(frozen=True)
class Plot:
    """A picture before it is drawn.

    Attributes:
        name: Name of its file.
        title: What it shows.
        caption: What to know to read it.
        panels: What draws it, each on axes of its own.
        height: Inches of a panel.
        width: Inches of a panel.
        most_columns: Panels of a row of the picture.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    height: float = 3.3
    width: float = _WIDTH
    most_columns: int = 2

    @property
    def is_wide(self) -> bool:
        """Whether a panel takes more than others do."""
        return self.width > _WIDTH

    def draw(self) -> Figure:
        """Draw all panels as one picture."""
        return draw(self.panels, self.height, self.width, self.most_columns)

    def draw_apart(self) -> list[Figure]:
        """Draw each panel as a picture of its own, so that a narrow page can show them under each other."""
        return [draw([panel], self.height, self.width) for panel in self.panels]

    def save(self, path: Path) -> None:
        """Draw all panels as a PNG file, which is replaced in one step."""
        with replacing(path) as unfinished:
            self.draw().savefig(unfinished, dpi=120, format="png")


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each name, in their order."""
    return {
        name: Style(
            color=COLORS[number % len(COLORS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle=_LINES[min(number // len(COLORS), len(_LINES) - 1)],
        )
        for number, name in enumerate(dict.fromkeys(names))
    }


def draw(panels: Sequence[Panel], height: float = 3.3, width: float = _WIDTH, most_columns: int = 2) -> Figure:
    """Draw panels row by row, over one legend of what they show.

    Args:
        panels: Each draws on the axes that it is given; at least one.
        height: Inches of a panel.
        width: Inches of a panel.
        most_columns: Panels of a row.
    """
    columns = min(most_columns, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(_RC):  # type: ignore[arg-type]
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = [figure.add_subplot(rows, columns, number + 1) for number in range(len(panels))]
        for axis, panel in zip(axes, panels, strict=True):
            axis.spines[["top", "right"]].set_visible(False)
            panel(axis)
        _place_legend(figure, axes, round(_LINE * columns * width / _WIDTH))
        for _ in range(2):  # the first changes ticks; then no more, however often it is saved
            figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
        figure.set_layout_engine("none")
    return figure


def _place_legend(figure: Figure, axes: Sequence[Axes], width: int) -> None:
    """Put what all panels show under them, each name once."""
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if found:
        columns = max(1, min(len(found), width // (max(map(len, found)) + 6)))
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False)
