"""A comparison's results relative to published ones, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from bet_lightning.compare.entries import METRICS, Entry, group_axes
from bet_lightning.compare.rows import Row
from bet_lightning.methods.tasks import FULL
from bet_lightning.runs.axes import percent
from bet_lightning.runs.style import FAINT, Plot

REFERENCE = "bet"  # the published method that all others are relative to
Place = tuple[str, str, str]  # data, backbone and budget
Relative = Mapping[str, Mapping[Place, float]]  # by method: 0.1 is a tenth above the reference


def relative_plot(entries: Sequence[Entry], axes: Sequence[str], published: Sequence[Row]) -> Plot | None:
    """Return test recall@20 and ndcg@20 relative to what is published for BET: a line a method, a column a budget.

    Published rivals stand below, relative to the same numbers.

    Args:
        entries: Entries of a comparison; there is nothing to draw without a result at a budget that BET is published
            for.
        axes: Its axes.
        published: Rows with data, backbone, method, budget and metrics.
    """
    panels = {metric: relative_to_published(entries, axes, published, metric) for metric in METRICS}
    methods = list(dict.fromkeys(method for found in panels.values() for method in found))
    places = list(dict.fromkeys(place for found in panels.values() for values in found.values() for place in values))
    if not places:
        return None
    places.sort(key=[_place(row) for row in published].index)
    largest = max(abs(value) for found in panels.values() for values in found.values() for value in values.values())
    shown = (
        partial(_draw, metric=metric, found=found, methods=methods, places=places, largest=largest or 1.0)
        for metric, found in panels.items()
    )
    return Plot(
        "published",
        "Relative to published results",
        "Percent above what is published for BET at the same budget; blue is better, red is worse.",
        tuple(shown),
        height=1.0 + 0.3 * len(methods),
        width=2.2 + 0.55 * len(places),
        most_columns=1,
    )


def relative_to_published(
    entries: Sequence[Entry], axes: Sequence[str], published: Sequence[Row], metric: str
) -> Relative:
    """Return by which share methods are above published BET, wherever one of the entries can be compared with it.

    Args:
        entries: Entries of a comparison.
        axes: Its axes.
        published: Rows with data, backbone, method, budget and metrics.
        metric: The metric to compare.
    """
    reference = {_place(row): float(row[metric]) for row in published if row["method"] == REFERENCE}
    found: dict[str, dict[Place, float]] = {}
    for entry in entries:
        group = dict(zip(group_axes(axes), entry.group, strict=True))
        place = (group.get("data", ""), group.get("backbone", ""), entry.budget)
        if entry.budget != FULL and place in reference:
            found.setdefault(entry.method, {})[place] = entry.mean(metric) / reference[place] - 1
    measured = {place for values in found.values() for place in values}
    for row in published:
        if (place := _place(row)) in measured and row["method"] != REFERENCE:
            name = f"{row['method']} (published)"
            found.setdefault(name, {})[place] = float(row[metric]) / reference[place] - 1
    return found


def _place(row: Row) -> Place:
    return row["data"], row["backbone"], row["budget"]


def _draw(
    axis: Axes, metric: str, found: Relative, methods: Sequence[str], places: Sequence[Place], largest: float
) -> None:
    shares = np.array([[found[method].get(place, np.nan) for place in places] for method in methods])
    axis.pcolormesh(shares, cmap="RdBu", vmin=-largest, vmax=largest)  # shapes: a page shows no images
    axis.invert_yaxis()
    for (line, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            color = "white" if abs(share) > 0.6 * largest else "black"
            text = f"{round(100 * share):+d}"
            axis.text(column + 0.5, line + 0.5, text, ha="center", va="center", fontsize="small", color=color)
    axis.set_ylabel(f"test {metric}")
    axis.set_yticks(np.arange(len(methods)) + 0.5, methods)
    budgets = [percent(float(budget)) for _, _, budget in places]
    axis.set_xticks(np.arange(len(places)) + 0.5, budgets, fontsize="small")
    for column, (before, place) in enumerate(pairwise(places), start=1):
        if before[:2] != place[:2]:
            axis.axvline(column, color=FAINT)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    for group in dict.fromkeys(place[:2] for place in places):  # above the columns that share data and backbone
        columns = [column for column, place in enumerate(places) if place[:2] == group]
        middle = sum(columns) / len(columns) + 0.5
        axis.text(middle, -0.1, "\n".join(group), ha="center", va="bottom", fontsize="small")
