"""A comparison in one page that asks for nothing outside of it: its tables, curves, and what its runs did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from markupsafe import Markup, escape

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.entries import METRICS, Entry, best_and_rivals, contests, group_axes
from bet_lightning.compare.rows import Row, is_done
from bet_lightning.compare.run_plots import contests_of, finished_runs, popularity_plot, search_plots
from bet_lightning.compare.significance import Pair
from bet_lightning.compare.tables import BOLD, side_by_side
from bet_lightning.runs.pages import PageFigure, PageRow, PageTable, render_page
from bet_lightning.runs.style import Plot

_TEMPLATE = "compare/comparison.html.jinja"


def render_comparison(
    comparison: Comparison,
    rows: Sequence[Row],
    entries: Sequence[Entry],
    pairs: Sequence[Pair],
    plots: Sequence[Plot],
    runs: Path,
) -> str:
    """Return the page that shows a comparison.

    Args:
        comparison: The comparison.
        rows: Its rows.
        entries: What they set side by side.
        pairs: What was compared user by user.
        plots: Plots of its results.
        runs: Folder of its runs; those that are there show what they did.
    """
    axes = comparison.axes
    missing = [cell for cell in comparison.cells if not is_done(cell, rows)]
    groups = [(", ".join(group), list(found)) for group, found in groupby(entries, key=lambda entry: entry.group)]
    shared = len(group_axes(axes))  # columns that are the same in all lines of a group: they are its name
    tables = []
    for name, found in groups:
        grid = side_by_side(found, axes, [pair for pair in pairs if pair.group == found[0].group])
        lines = tuple(PageRow(tuple(map(_as_html, line[shared:]))) for line in grid.lines)
        tables.append((name or "Results", PageTable(tuple(grid.header[shared:]), lines), grid.note))
    competing = contests_of(finished_runs(comparison, runs))
    shown = (*plots, popularity_plot(competing), *search_plots(competing))
    return render_page(
        _TEMPLATE,
        name=comparison.path.stem,
        sentence=summarize(entries, len(comparison.cells), len(missing)),
        tables=tables,
        figures=[PageFigure.of(plot) for plot in shown if plot],
        missing=[cell.name for cell in missing],
        config=comparison.path.read_text(),
    )


def summarize(entries: Sequence[Entry], num_cells: int, num_missing: int) -> str:
    """Return in a sentence how much of a comparison is measured, and who is best how often.

    Args:
        entries: What is set side by side.
        num_cells: How many cells there are.
        num_missing: How many of them are not measured.
    """
    measured = f"{num_cells - num_missing:,} of {num_cells:,} cells are measured"
    competed = contests(entries)
    if not competed:
        return f"{measured}."
    metric = METRICS[1]
    wins = Counter(best_and_rivals(contest, metric)[0].method for contest in competed)
    (first, most), *others = wins.most_common()
    rest = "".join(f", {method} at {count}" for method, count in others)
    return f"{measured}. By {metric} on test data, {first} is best at {most} of {len(competed)} budgets{rest}."


def _as_html(text: str) -> Markup:
    """Return a Markdown text as HTML."""
    return Markup(BOLD.sub(r"<b>\1</b>", str(escape(text))))
