"""``report.html``: a run in one file, which asks for nothing outside of it, drawn from the files of its folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from bet_lightning.runs.folder import read_record, write_text
from bet_lightning.runs.page_tables import empty_table, metrics_table, result_table, summarize
from bet_lightning.runs.pages import PageFigure, render_page
from bet_lightning.runs.plots import plots_of, save_plots
from bet_lightning.runs.popularity_plots import read_profiles
from bet_lightning.runs.result_plots import STAGES
from bet_lightning.runs.style import Plot

REPORT = "report.html"
_TEMPLATE = "runs/report.html.jinja"
log = logging.getLogger(__name__)


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
    return render_page(
        _TEMPLATE,
        record=record,
        sentence=summarize(record),
        results=[(STAGES[stage], result_table(record, stage), metrics_table(record, stage)) for stage in stages],
        figures=[PageFigure.of(plot, tables.get(plot.name)) for plot in plots],
        config=config.read_text() if config.is_file() else "",
    )
