"""Plots of a search: what probes found, what they cost, and how well they were predicted."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate

from matplotlib.axes import Axes

from bet_lightning.methods.bet.fitting import spearman
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.runs.axes import in_counts, in_percent, in_seconds
from bet_lightning.runs.records import RunRecord
from bet_lightning.runs.style import FAINT, Plot, styles_of

_LEAST_SPREAD = 0.05  # of fitness, that is drawn of predictions beyond what was measured

Probes = Mapping[str, Sequence[ProbeRecord]]  # those that did not fail, by the label of what they share
Passed = Mapping[
    int, float
]  # probes or seconds by the identity of a record: two forms count iterations each for itself


def fitness_plot(record: RunRecord, records: Sequence[ProbeRecord]) -> Plot | None:
    """Return the fitness of probes and the best so far, by their number and by the seconds of the search."""
    probes = _by_budget(record, records)
    if not probes:
        return None
    numbers, seconds = spent_until(record, records)
    named = {f"best within {label}": each for label, each in probes.items()}
    caption = (
        "A point is a probed action, a line the best so far within a budget. Time is that of the beginning and of "
        "these probes, without longer ones of the best actions."
    )
    panels = (
        partial(draw_fitness, probes=named, passed=numbers, in_time=False),
        partial(draw_fitness, probes=named, passed=seconds, in_time=True),
    )
    return Plot("fitness", "Search", caption, panels)


def predictor_plot(record: RunRecord, records: Sequence[ProbeRecord]) -> Plot | None:
    """Return what was predicted of actions before their probes against what was measured, with rank correlations."""
    probes = _by_budget(record, records)
    if not probes:
        return None
    caption = (
        "The prediction was made before the probe, by a predictor that had seen the probes before it; on the dashed "
        "line it is exact. rho is Spearman's rank correlation. Predictions far from anything measured are drawn at the "
        "edge."
    )
    panels = (partial(draw_predictions, probes=probes),)
    return Plot("predictor", "Predicted against measured fitness", caption, panels)


def _by_budget(record: RunRecord, records: Sequence[ProbeRecord]) -> Probes:
    measured = [each for each in records if not each.failed]
    found = {budget.label: [each for each in measured if each.budget == budget.name] for budget in record.budgets}
    return {label: each for label, each in found.items() if each}


def spent_until(record: RunRecord, records: Sequence[ProbeRecord]) -> tuple[Passed, Passed]:
    """Return how many probes a search had made after each, and how many seconds had passed.

    Args:
        record: What the run says of itself.
        records: All of its probes.
    """
    spent = list(accumulate((each.seconds for each in records), initial=record.search.seconds_to_begin))[1:]
    numbers = {id(each): float(number) for number, each in enumerate(records, start=1)}
    return numbers, {id(each): passed for each, passed in zip(records, spent, strict=True)}


def draw_fitness(axis: Axes, probes: Probes, passed: Passed, in_time: bool, title: str = "") -> None:
    """Draw the fitness of probes, and the best so far as a line.

    Args:
        axis: What is drawn on.
        probes: By the label of their line.
        passed: How many probes or seconds there were until each.
        in_time: Whether those are seconds.
        title: What stands above.
    """
    last = max(passed.values())
    for label, style in styles_of(probes).items():
        when = [passed[id(each)] for each in probes[label]]
        fitness = [each.fitness for each in probes[label]]
        axis.scatter(when, fitness, 12, style["color"], marker=style["marker"], alpha=0.6)
        best = list(accumulate(fitness, max))
        (line,) = axis.plot([*when, last], [*best, best[-1]], drawstyle="steps-post", **style)
        line.set(label=label, markevery=[])
    in_percent(axis.yaxis)
    if in_time:
        axis.set_xlabel(f"time of search, {in_seconds(axis.xaxis, last)}")
    else:
        in_counts(axis.xaxis)
        axis.set_xlabel("probes")
    axis.set(title=title, ylabel="fitness, % of full", xlim=(0, 1.03 * last))


def draw_predictions(axis: Axes, probes: Probes, title: str = "") -> None:
    """Draw predicted against measured fitness of probes.

    Args:
        axis: What is drawn on.
        probes: By the label of their points.
        title: What stands above.
    """
    measured = [each.fitness for side in probes.values() for each in side]
    low, high = min(measured), max(measured)
    beyond = max(high - low, _LEAST_SPREAD) / 2
    axis.plot([low, high], [low, high], color=FAINT, linestyle="--", linewidth=1, label="exact")
    for label, style in styles_of(probes).items():
        predicted = [each.predicted_fitness for each in probes[label]]
        found = [each.fitness for each in probes[label]]
        correlation = spearman(predicted, found)
        rank = "undefined" if math.isnan(correlation) else f"{correlation:.2f}"
        shown = [min(max(each, low - beyond), high + beyond) for each in predicted]
        legend = f"{label}: rho = {rank}, {len(found)} probes"
        axis.scatter(shown, found, 20, style["color"], marker=style["marker"], alpha=0.8, label=legend)
    in_percent(axis.xaxis)
    in_percent(axis.yaxis)
    axis.set(title=title, xlabel="predicted fitness, % of full", ylabel="measured fitness, % of full")
