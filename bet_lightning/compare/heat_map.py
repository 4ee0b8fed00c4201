"""A comparison's results relative to published ones, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bet_lightning.compare.entries import METRICS, Entry, group_axes
from bet_lightning.compare.rows import Row
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing

REFERENCE = "bet"  # the published method that all others are relative to
Place = tuple[str, str, str]  # data, backbone and budget
Relative = Mapping[str, Mapping[Place, float]]  # by method: 0.1 is a tenth above the reference


def plot_relative(entries: Sequence[Entry], axes: Sequence[str], published: Sequence[Row], path: Path) -> bool:
    """Draw test recall@20 and ndcg@20 relative to what is published for BET: a line a method, a column a budget.

    Published rivals stand below, relative to the same numbers.

    Args:
        entries: Entries of a comparison.
        axes: Its axes.
        published: Rows with data, backbone, method, budget and metrics.
        path: The PNG file to write.

    Returns:
        Whether there was anything to draw: a result at a budget that BET is published for.
    """
    panels = {metric: relative_to_published(entries, axes, published, metric) for metric in METRICS}
    methods = list(dict.fromkeys(method for found in panels.values() for method in found))
    places = list(dict.fromkeys(place for found in panels.values() for values in found.values() for place in values))
    if not places:
        return False
    places.sort(key=[_place(row) for row in published].index)
    figure = Figure(figsize=(2.6 + 0.55 * len(places), 1.9 + 0.6 * len(methods)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    largest = max(abs(value) for found in panels.values() for values in found.values() for value in values.values())
    for axis, (metric, found) in zip(grid, panels.items(), strict=True):
        image = _draw(axis, metric, found, methods, places, largest or 1.0)
    _name_groups(grid[0], places)
    figure.colorbar(image, ax=list(grid), label="% above published BET", aspect=40)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
    return True


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
) -> AxesImage:
    """Draw one metric: blue above the reference, red below it, with the numbers in percent."""
    shares = np.array([[found[method].get(place, np.nan) for place in places] for method in methods])
    image = axis.imshow(100 * shares, cmap="RdBu", vmin=-100 * largest, vmax=100 * largest, aspect="auto")
    for (line, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            color = "white" if abs(share) > 0.6 * largest else "black"
            axis.text(column, line, f"{round(100 * share):+d}", ha="center", va="center", fontsize="small", color=color)
    axis.set_ylabel(f"test {metric}")
    axis.set_yticks(range(len(methods)), methods)
    axis.set_xticks(range(len(places)), [f"{float(budget):.0%}" for _, _, budget in places], fontsize="small")
    for column, (before, place) in enumerate(pairwise(places)):
        if before[:2] != place[:2]:
            axis.axvline(column + 0.5, color="white", linewidth=4)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image


def _name_groups(axis: Axes, places: Sequence[Place]) -> None:
    """Write data and backbone above the columns that share them."""
    for group in dict.fromkeys(place[:2] for place in places):
        columns = [column for column, place in enumerate(places) if place[:2] == group]
        middle = sum(columns) / len(columns)
        axis.text(middle, -0.6, "\n".join(group), ha="center", va="bottom", fontsize="small")
