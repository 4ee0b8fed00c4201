"""Pages in one file that ask for nothing outside of them: what they are made of, and how they are written."""

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from bet_lightning.budget import format_bytes
from bet_lightning.runs.style import Plot
from bet_lightning.runs.svg import to_svg


@dataclass(frozen=True)
class PageRow:
    """A line of a table, as text.

    Attributes:
        cells: What the columns say, in their order; all is escaped but ``markupsafe.Markup``.
        is_best: Whether it is marked.
    """

    cells: tuple[str, ...]
    is_best: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table, as text.

    Attributes:
        columns: Names of its columns.
        rows: Its lines.
        words: How many of the columns are words, which come first; the others are numbers.
    """

    columns: tuple[str, ...]
    rows: tuple[PageRow, ...]
    words: int = 1


@dataclass(frozen=True)
class PageFigure:
    """A plot as it stands in the page.

    Attributes:
        plot: What it shows.
        drawings: An ``<svg>`` element a panel.
        table: Numbers that belong to it.
    """

    plot: Plot
    drawings: tuple[str, ...]
    table: PageTable | None

    @classmethod
    def of(cls, plot: Plot, table: PageTable | None = None) -> "PageFigure":
        """Draw the panels of a plot apart, so that a narrow page can show them under each other."""
        drawn = (to_svg(figure, f"{plot.name}-{number}", plot.title) for number, figure in enumerate(plot.draw_apart()))
        return cls(plot, tuple(drawn), table)


def render_page(template: str, **values: object) -> str:
    """Return a page; whatever a user named is escaped.

    Args:
        template: Path of its template in the package.
        values: What the template shows.
    """
    environment = Environment(
        loader=PackageLoader("bet_lightning", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(format_bytes=format_bytes, **values)
