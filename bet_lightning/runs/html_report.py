"""``report.html``: a run in one file, which asks for nothing outside of it, drawn from the files of its folder."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from bet_lightning.budget import format_bytes
from bet_lightning.runs.folder import read_record, write_text
from bet_lightning.runs.page_tables import PageTable, empty_table, metrics_table, result_table, summarize
from bet_lightning.runs.plots import plots_of, save_plots
from bet_lightning.runs.popularity_plots import read_profiles
from bet_lightning.runs.result_plots import STAGES
from bet_lightning.runs.style import Plot, draw
from bet_lightning.runs.svg import to_svg

REPORT = "report.html"
_TEMPLATE = "report.html.jinja"
log = logging.getLogger(__name__)


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
        drawn = (
            to_svg(draw([panel], plot.height), f"{plot.name}-{number}", plot.title)
            for number, panel in enumerate(plot.panels)
        )
        return cls(plot, tuple(drawn), table)


def draw_run(folder: Path) -> list[Path]:
    """Draw plots and report of a finished run, or draw them again; what cannot be drawn costs no run.

    Args:
        folder: The run folder.

    Returns:
        The plots that could be written.
    """
    plots: list[Plot] = []
    paths: list[Path] = []
    try:
        plots = plots_of(folder)
        paths = save_plots(plots, folder)
    except (OSError, ValueError) as error:
        log.warning("%s: plots cannot be drawn (%s)", folder, error)
    write_report(folder, plots)
    return paths


def write_report(folder: Path, plots: Sequence[Plot] | None = None) -> Path | None:
    """Write ``report.html`` of a finished run, or write it again.

    Args:
        folder: The run folder.
        plots: Its plots (default: all that it has the data for).

    Returns:
        The file; None where it cannot be drawn or written, which is not worth a run whose results are safe.

    Raises:
        ValueError: If the folder is not that of a run.
    """
    read_record(folder)  # a folder that is none is an error
    try:
        write_text(folder / REPORT, render(folder, plots))
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be written (%s)", folder / REPORT, error)
        return None
    return folder / REPORT


def render(folder: Path, plots: Sequence[Plot] | None = None) -> str:
    """Return the page that shows a run folder; whatever a user named is escaped.

    Args:
        folder: The run folder.
        plots: Its plots (default: all that it has the data for).

    Raises:
        ValueError: If the folder is not that of a run.
    """
    record = read_record(folder)
    plots = plots_of(folder) if plots is None else plots
    config = folder / "config.yaml"
    stages = [stage for stage in STAGES if any(result.metrics(stage) for result in record.results)]
    tables = {"sizes": empty_table(read_profiles(folder, record))}
    environment = Environment(
        loader=PackageLoader("bet_lightning.runs", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        record=record,
        sentence=summarize(record),
        results=[(STAGES[stage], result_table(record, stage), metrics_table(record, stage)) for stage in stages],
        figures=[PageFigure.of(plot, tables.get(plot.name)) for plot in plots],
        config=config.read_text() if config.is_file() else "",
        format_bytes=format_bytes,
    )
