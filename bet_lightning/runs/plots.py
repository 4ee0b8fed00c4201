"""Plots of a run, drawn from the files of its folder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bet_lightning.baselines import read_sizes
from bet_lightning.results import read_records, read_summary

log = logging.getLogger(__name__)


def plot_run(folder: Path) -> list[Path]:
    """Draw what a run folder holds: sizes of every result and, after a search, fitness and predictions.

    Args:
        folder: The run folder.

    Returns:
        The files that could be written, ``plots/*.png``.

    Raises:
        ValueError: If the folder is not that of a run.
    """
    summary = read_summary(folder)
    figures = {"sizes": plot_sizes(folder, summary)}
    if len(summary["budgets"]) > 1:
        figures["budgets"] = plot_budgets(summary)
    if (folder / "actions.jsonl").is_file():
        records = read_records(folder / "actions.jsonl")
        figures["fitness"] = plot_fitness(records)
        figures["predictor"] = plot_predictions(records)
    paths = []
    for name, figure in figures.items():
        path = folder / "plots" / f"{name}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            figure.savefig(path, dpi=120)
            paths.append(path)
        except OSError as error:  # the run is over and its results are safe
            log.warning("%s: cannot be written (%s)", path, error)
    return paths


def plot_sizes(folder: Path, summary: dict[str, Any]) -> Figure:
    """Sizes of the budgeted results, largest first, users and items side by side."""
    figure, (users, items) = _figure(2)
    num_users = summary["dataset"]["users"]
    for result in summary["results"]:
        if result["name"] == "full":
            continue
        sizes = read_sizes(str(folder / "sizes" / f"{result['name']}.txt"))
        for axis, side in ((users, sizes[:num_users]), (items, sizes[num_users:])):
            axis.plot(side.sort(descending=True).values, label=result["name"], drawstyle="steps-post")
    for axis, side_name in ((users, "users"), (items, "items")):
        axis.set(xlabel=f"{side_name}, largest size first", ylabel="parameters a row", yscale="log")
        if axis.lines:
            axis.legend(frameon=False)
    return figure


def plot_budgets(summary: dict[str, Any]) -> Figure:
    """What every kind of table reaches on validation data, by its parameters: the trade-off curve."""
    figure, (axis,) = _figure(1)
    results = summary["results"]
    metric = list(results[0]["valid"])[-1]
    curves: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        curves.setdefault(result["name"].partition("@")[0], []).append((result["params"], result["valid"][metric]))
    for name, points in curves.items():
        axis.plot(*zip(*sorted(points), strict=True), "o-", label=name)
    axis.set(xlabel="parameters", ylabel=f"validation {metric}", xscale="log")
    axis.legend(frameon=False)
    return figure


def plot_fitness(records: Sequence[dict[str, Any]]) -> Figure:
    """Measured fitness by iteration with the best so far of each budget, and by the users' share of the budget."""
    figure, (by_iteration, by_share) = _figure(2)
    for params in sorted({record["params"] for record in records}):
        probes = [record for record in records if record["params"] == params]
        iterations, fitness = ([probe[key] for probe in probes] for key in ("iteration", "fitness"))
        best = [max(fitness[: i + 1]) for i in range(len(fitness))]
        (points,) = by_iteration.plot(iterations, fitness, "o")
        label = f"best of {params:,} parameters"
        by_iteration.plot(iterations, best, drawstyle="steps-post", color=points.get_color(), label=label)
        by_share.plot([probe["user_share"] for probe in probes], fitness, "o")
    by_iteration.set(xlabel="iteration", ylabel="fitness (1 = full table)")
    by_iteration.legend(frameon=False)
    by_share.set(xlabel="users' share of the budget", ylabel="fitness")
    return figure


def plot_predictions(records: Sequence[dict[str, Any]]) -> Figure:
    """What the predictor expected of an action before its probe, against what the probe measured."""
    figure, (axis,) = _figure(1)
    fitness = [record["fitness"] for record in records]
    axis.scatter([record["predicted_fitness"] for record in records], fitness, c=range(len(records)))
    axis.plot([min(fitness), max(fitness)], [min(fitness), max(fitness)], color="grey", linewidth=0.8)
    axis.set(xlabel="predicted fitness", ylabel="measured fitness", title="later probes are lighter")
    return figure


def _figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5 * columns, 3.6), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)
