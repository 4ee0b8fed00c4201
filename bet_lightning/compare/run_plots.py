"""Plots of what a comparison's runs did, drawn from those of their folders that are here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.entries import group_axes
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.runs.folder import ACTIONS, SUMMARY, read_probes, read_record
from bet_lightning.runs.popularity_plots import MEASURES, SideProfile, draw_side, read_profiles
from bet_lightning.runs.records import RunRecord
from bet_lightning.runs.search_plots import Probes, draw_fitness, draw_predictions, spent_until
from bet_lightning.runs.style import Panel, Plot, styles_of

_OF_ONE_BUDGET = "Each method's run of the first seed, at the budget in the title."


class FinishedRun(NamedTuple):
    """A run of a comparison, of the first seed that its cell was run with.

    Attributes:
        group: What it shares with its rivals, as data and backbone.
        method: Its method.
        folder: Its folder.
        record: What it says of itself.
    """

    group: str
    method: str
    folder: Path
    record: RunRecord


class Contest(NamedTuple):
    """Runs that compete at a budget.

    Attributes:
        title: What they share, with the budget.
        budget: Name of the budget.
        runs: The runs.
    """

    title: str
    budget: str
    runs: tuple[FinishedRun, ...]


def finished_runs(comparison: Comparison, runs: Path) -> list[FinishedRun]:
    """Return the runs of a comparison that are finished and still here.

    Args:
        comparison: The comparison.
        runs: Folder of its runs.
    """
    found: dict[tuple[str, ...], FinishedRun] = {}
    for cell in comparison.cells:
        folder = cell.folder(runs)
        if tuple(cell.values.values()) not in found and (folder / SUMMARY).is_file():
            group = ", ".join(cell.values[axis] for axis in group_axes(comparison.axes))
            method = cell.values.get("method", cell.name)
            found[tuple(cell.values.values())] = FinishedRun(group, method, folder, read_record(folder))
    return list(found.values())


def contests_of(finished: Sequence[FinishedRun]) -> list[Contest]:
    """Return the runs of each group at the budget that most of them have; of several, the one in the middle."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in finished:
        groups.setdefault(run.group, []).append(run)
    contests = []
    for group, rivals in groups.items():
        count = Counter(budget.name for run in rivals for budget in run.record.budgets)
        common = [name for name, runs in count.items() if runs == max(count.values())]
        budget = common[(len(common) - 1) // 2]
        within = tuple(run for run in rivals if run.record.best(budget) is not None)
        if within:
            label = next(each.label for run in within for each in run.record.budgets if each.name == budget)
            contests.append(Contest(", ".join(filter(None, (group, label))), budget, within))
    return contests


def popularity_plot(contests: Sequence[Contest]) -> Plot | None:
    """Return what users and items get by popularity, a curve a method whose rows have sizes."""
    panels: list[Panel] = []
    styles = styles_of(run.method for contest in contests for run in contest.runs)
    for title, budget, runs in contests:
        profiles = {run.method: found for run in runs if (found := _profiles(run, budget))}
        for index, side in enumerate(("users", "items")):
            if shown := {method: sides[index] for method, sides in profiles.items()}:
                panels.append(partial(draw_side, profiles=shown, styles=styles, measure="size", side=side, title=title))
    caption = f"{_OF_ONE_BUDGET} A point is a group of rows of about equal popularity: {MEASURES['size']}."
    return Plot("sizes", "Sizes by popularity", caption, tuple(panels)) if panels else None


def search_plots(contests: Sequence[Contest]) -> Iterator[Plot]:
    """Yield how fast methods that search found what, and how well they predicted it, where there are any."""
    fitness: list[Panel] = []
    predictions: list[Panel] = []
    for title, budget, runs in contests:
        searched = {run.method: (run, found) for run in runs if (found := _probes(run))}
        probes: Probes = {
            method: within
            for method, (_, records) in searched.items()
            if (within := [each for each in records if each.budget == budget and not each.failed])
        }
        if not probes:
            continue
        spent = [spent_until(run.record, records) for run, records in searched.values()]
        for in_time in (False, True):
            passed = {record: when for each in spent for record, when in each[in_time].items()}
            fitness.append(partial(draw_fitness, probes=probes, passed=passed, in_time=in_time, title=title))
        predictions.append(partial(draw_predictions, probes=probes, title=title))
    if fitness:
        caption = f"{_OF_ONE_BUDGET} A point is a probed action, a line the best so far."
        yield Plot("fitness", "Search", caption, tuple(fitness))
        caption = (
            f"{_OF_ONE_BUDGET} Every prediction was made before the probe, of an action that the predictor had not "
            "seen; rho is Spearman's rank correlation."
        )
        yield Plot("predictor", "Predicted against measured fitness", caption, tuple(predictions))


def _profiles(run: FinishedRun, budget: str) -> tuple[SideProfile, SideProfile] | None:
    best = run.record.best(budget)
    return read_profiles(run.folder, run.record).get(best.name) if best else None


def _probes(run: FinishedRun) -> list[ProbeRecord]:
    path = run.folder / ACTIONS
    return read_probes(path) if path.is_file() else []
