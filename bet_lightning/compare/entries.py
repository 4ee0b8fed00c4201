"""What a comparison sets side by side: a method's results at a budget, one of each seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bet_lightning.compare.rows import Row, method_of
from bet_lightning.methods.tasks import FULL
from bet_lightning.ranking import quality

METRICS = ("recall@20", "ndcg@20")


class Entry(NamedTuple):
    """A method's tested results at a budget.

    Attributes:
        group: Values of the axes but the method's, as data and backbone: within one, methods are compared.
        method: What made the tables.
        budget: Name of the budget; ``full`` for the full table.
        rows: A row a seed.
    """

    group: tuple[str, ...]
    method: str
    budget: str
    rows: tuple[Row, ...]

    def mean(self, metric: str) -> float:
        """Return the mean of a test metric over seeds."""
        return statistics.fmean(float(row[metric]) for row in self.rows)


def group_axes(axes: Sequence[str]) -> list[str]:
    """Return the axes that an entry's group has values of."""
    return [axis for axis in axes if axis != "method"]


def entries_of(rows: Sequence[Row], axes: Sequence[str]) -> list[Entry]:
    """Return the entries of a comparison, group by group, in the order of their first rows.

    Of results that share method, budget and seed, the one that is best on validation counts; on test where validation
    was not noted, as before version 0.1.0.

    Args:
        rows: Rows of the comparison; those without test metrics are left out.
        axes: Its axes.
    """
    found: dict[tuple[tuple[str, ...], str, str], dict[str, Row]] = {}
    for row in rows:
        if not all(row.get(metric) for metric in METRICS):
            continue
        group = tuple(row.get(axis, "") for axis in group_axes(axes))
        budget = FULL if row["result"] == FULL else row["budget"]
        seeds = found.setdefault((group, method_of(row), budget), {})
        kept = seeds.get(row["seed"])
        if kept is None or _quality(row) > _quality(kept):
            seeds[row["seed"]] = row
    groups = list(dict.fromkeys(group for group, _, _ in found))
    entries = (Entry(*key, tuple(seeds.values())) for key, seeds in found.items())
    return sorted(entries, key=lambda entry: groups.index(entry.group))


def contests(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the entries that compete with each other: those of a group and a budget, where there are several."""
    found: dict[tuple[tuple[str, ...], str], list[Entry]] = {}
    for entry in entries:
        if entry.budget != FULL:
            found.setdefault((entry.group, entry.budget), []).append(entry)
    return [each for each in found.values() if len(each) > 1]


def best_and_rivals(contest: Sequence[Entry], metric: str) -> tuple[Entry, list[Entry]]:
    """Return the entry that is best on test, and the others."""
    best = max(contest, key=lambda entry: entry.mean(metric))
    return best, [entry for entry in contest if entry is not best]


def _quality(row: Row) -> float:
    """Quality on validation, or on test where that was not noted."""
    return quality({name: float(row.get(f"valid_{name}") or row[name]) for name in METRICS})
