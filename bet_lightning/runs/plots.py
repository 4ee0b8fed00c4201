"""Plots of a run, drawn from the files of its folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.methods.rules import read_sizes
from bet_lightning.methods.tasks import FULL
from bet_lightning.runs.folder import ACTIONS, read_probes, read_record
from bet_lightning.runs.records import RunRecord

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
    record = read_record(folder)
    figures = {"sizes": plot_sizes(folder, record)}
    if len(record.budgets) > 1:
        figures["budgets"] = plot_budgets(record)
    if (folder / ACTIONS).is_file():
        probes = read_probes(folder / ACTIONS)
        figures["fitness"] = plot_fitness(probes)
        figures["predictor"] = plot_predictions(probes)
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


def plot_sizes(folder: Path, record: RunRecord) -> Figure:
    """Draw sizes of the budgeted results, largest first, users and items side by side."""
    figure, (users, items) = _figure(2)
    num_users = int(record.dataset["users"])
    for result in record.results:
        path = folder / "sizes" / f"{result.name}.txt"
        if result.name == FULL or not path.is_file():
            continue
        sizes = read_sizes(str(path))
        for axis, side in ((users, sizes[:num_users]), (items, sizes[num_users:])):
            axis.plot(side.sort(descending=True).values, label=result.name, drawstyle="steps-post")
    for axis, side_name in ((users, "users"), (items, "items")):
        axis.set(xlabel=f"{side_name}, largest size first", ylabel="parameters a row", yscale="log")
        if axis.lines:
            axis.legend(frameon=False)
    return figure


def plot_budgets(record: RunRecord) -> Figure:
    """Draw what every kind of table reaches on validation data, by its parameters: the trade-off curve."""
    figure, (axis,) = _figure(1)
    metric = list(record.results[0].valid)[-1]
    curves: dict[str, list[tuple[int, float]]] = {}
    for result in record.results:
        curves.setdefault(result.name.partition("@")[0], []).append((result.params, result.valid[metric]))
    for name, points in curves.items():
        axis.plot(*zip(*sorted(points), strict=True), "o-", label=name)
    axis.set(xlabel="parameters", ylabel=f"validation {metric}", xscale="log")
    axis.legend(frameon=False)
    return figure


def plot_fitness(records: Sequence[ProbeRecord]) -> Figure:
    """Draw measured fitness by iteration with the best so far of each budget, and by the users' share of the budget."""
    figure, (by_iteration, by_share) = _figure(2)
    for budget in dict.fromkeys(record.budget for record in records):
        probes = [record for record in records if record.budget == budget]
        iterations = [probe.iteration for probe in probes]
        fitness = [probe.fitness for probe in probes]
        best = [max(fitness[: i + 1]) for i in range(len(fitness))]
        (points,) = by_iteration.plot(iterations, fitness, "o")
        label = f"best at budget {budget}"
        by_iteration.plot(iterations, best, drawstyle="steps-post", color=points.get_color(), label=label)
        by_share.plot([probe.draw.user_share for probe in probes], fitness, "o")
    by_iteration.set(xlabel="iteration", ylabel="fitness (1 = full table)")
    by_iteration.legend(frameon=False)
    by_share.set(xlabel="users' share of the budget", ylabel="fitness")
    return figure


def plot_predictions(records: Sequence[ProbeRecord]) -> Figure:
    """Draw what the predictor expected of an action before its probe, against what the probe measured."""
    figure, (axis,) = _figure(1)
    fitness = [record.fitness for record in records]
    axis.scatter([record.predicted_fitness for record in records], fitness, c=range(len(records)))
    axis.plot([min(fitness), max(fitness)], [min(fitness), max(fitness)], color="grey", linewidth=0.8)
    axis.set(xlabel="predicted fitness", ylabel="measured fitness", title="later probes are lighter")
    return figure


def _figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5 * columns, 3.6), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)
