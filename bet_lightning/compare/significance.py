"""Which rivals differ from the best of their budget, user by user, and the CSV that keeps it beside a table.

Each user's metric is averaged over a method's seeds first: users are the sample, and further seeds do not enlarge it.
The tests therefore speak of these trained tables and other users; how much trainings differ is what the standard
deviation over seeds says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from bet_lightning.compare.entries import METRICS, Entry, best_and_rivals, contests, group_axes
from bet_lightning.compare.rows import Row, read_rows, write_rows
from bet_lightning.compare.statistics import compare_users, holm

LEVEL = 0.05  # of corrected p-values
UserTables = Callable[[Row], pl.DataFrame | None]  # what each user reached with the result of a row, where it was kept
_TEXTS = ("budget", "metric", "best", "rival")
_NUMBERS = ("difference", "low", "high", "t_p", "wilcoxon_p", "t_holm", "wilcoxon_holm")
_P_VALUE = ".4g"  # how a p-value is written
_ROUNDING = 5e-6  # of differences of metrics that a table of results holds


@dataclass(frozen=True)
class Pair:
    """The best method of a budget and a rival, compared over users by one metric.

    Attributes:
        group: Values of the axes but the method's.
        budget: Name of the budget.
        metric: ``recall@20`` or ``ndcg@20``.
        best: The method that is best on test.
        rival: Another one.
        users: Number of users.
        difference: Mean of the best minus that of the rival.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        t_p: p-value of the paired t-test.
        wilcoxon_p: p-value of the Wilcoxon signed-rank test.
        t_holm: ``t_p`` with Holm's correction over the rivals of this budget and metric.
        wilcoxon_holm: ``wilcoxon_p`` with the same.
    """

    group: tuple[str, ...]
    budget: str
    metric: str
    best: str
    rival: str
    users: int
    difference: float
    low: float
    high: float
    t_p: float
    wilcoxon_p: float
    t_holm: float = 1.0
    wilcoxon_holm: float = 1.0

    @property
    def differs(self) -> bool:
        """Whether the rival differs significantly from the best, by the corrected t-test."""
        return self.t_holm < LEVEL


def compare_entries(entries: Sequence[Entry], user_tables: UserTables, known: Sequence[Pair]) -> list[Pair]:
    """Compare the best of every budget with its rivals.

    Args:
        entries: Entries of a comparison.
        user_tables: Finds what users reached.
        known: Pairs that were compared before. One whose users are gone is kept as long as its methods' means are
            those that it was compared with.

    Returns:
        A pair for every rival of a budget and metric that could be compared.
    """
    pairs: list[Pair] = []
    for contest in contests(entries):
        users = [(entry, _users_of(entry, user_tables)) for entry in contest]
        tables = {entry.method: table for entry, table in users if table is not None}
        for metric in METRICS:
            best, rivals = best_and_rivals(contest, metric)
            before = [pair for pair in known for rival in rivals if pair.metric == metric and _holds(pair, best, rival)]
            now = _compare(best, rivals, metric, tables)
            found = {pair.rival: pair for pair in (*before, *now)}
            pairs += _corrected([found[rival.method] for rival in rivals if rival.method in found])
    return pairs


def read_pairs(path: Path, axes: Sequence[str]) -> list[Pair]:
    """Return the pairs of a CSV file, none if there is no such file.

    Args:
        path: The file.
        axes: Axes of the comparison.

    Raises:
        ValueError: If it cannot be read.
    """
    pairs = []
    try:
        for row in read_rows(path):
            group = tuple(row[axis] for axis in group_axes(axes))
            budget, metric, best, rival = (row[name] for name in _TEXTS)
            numbers = (float(row[name]) for name in _NUMBERS)
            pairs.append(Pair(group, budget, metric, best, rival, int(row["users"]), *numbers))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a CSV file of compared methods ({error})") from None
    return pairs


def write_pairs(path: Path, axes: Sequence[str], pairs: Sequence[Pair]) -> bool:
    """Write a CSV file with a row a pair; without pairs, there is none.

    Args:
        path: The file.
        axes: Axes of the comparison.
        pairs: The pairs.

    Returns:
        Whether there is a file.
    """
    if not pairs:
        path.unlink(missing_ok=True)
        return False
    rows = []
    for pair in pairs:
        values = {name: str(getattr(pair, name)) for name in (*_TEXTS, "users")}
        numbers = {name: f"{getattr(pair, name):{_P_VALUE if '_' in name else '.6f'}}" for name in _NUMBERS}
        rows.append({**dict(zip(group_axes(axes), pair.group, strict=True)), **values, **numbers})
    write_rows(path, rows)
    return True


def _users_of(entry: Entry, user_tables: UserTables) -> pl.DataFrame | None:
    """Each user's metrics, averaged over seeds; None where a seed's are missing or of other users."""
    tables = [user_tables(row) for row in entry.rows]
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or len({row["data_hash"] for row in entry.rows}) > 1:
        return None
    mean = pl.concat(known).group_by("user").agg(pl.col(*METRICS).cast(pl.Float64).mean(), pl.len()).sort("user")
    return mean if (mean["len"] == len(known)).all() else None


def _compare(best: Entry, rivals: Sequence[Entry], metric: str, tables: dict[str, pl.DataFrame]) -> list[Pair]:
    """Compare the best with those rivals that served the same users."""
    if best.method not in tables:
        return []
    own, data = tables[best.method], best.rows[0]["data_hash"]
    same = [
        rival
        for rival in rivals
        if rival.method in tables
        and rival.rows[0]["data_hash"] == data
        and tables[rival.method]["user"].equals(own["user"])
    ]
    if not same:
        return []
    values = np.stack([tables[rival.method][metric].to_numpy() for rival in same], 1)
    found = compare_users(own[metric].to_numpy(), values)
    pairs = []
    for rival, (*difference, t_p, wilcoxon_p) in zip(same, zip(*found, strict=True), strict=True):
        # p-values as the file holds them, so that they are corrected to the same numbers when they come from there
        p_values = (float(f"{value:{_P_VALUE}}") for value in (t_p, wilcoxon_p))
        numbers = (*map(float, difference), *p_values)
        pairs.append(Pair(best.group, best.budget, metric, best.method, rival.method, len(own), *numbers))
    return pairs


def _holds(pair: Pair, best: Entry, rival: Entry) -> bool:
    """Whether a pair is of these two entries as they are now."""
    same = (pair.group, pair.budget, pair.best, pair.rival) == (best.group, best.budget, best.method, rival.method)
    return same and abs(best.mean(pair.metric) - rival.mean(pair.metric) - pair.difference) < _ROUNDING


def _corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """Correct the p-values of pairs for their number."""
    if not pairs:
        return []
    t, wilcoxon = (holm(np.array([getattr(pair, name) for pair in pairs])) for name in ("t_p", "wilcoxon_p"))
    return [
        replace(pair, t_holm=float(t[index]), wilcoxon_holm=float(wilcoxon[index])) for index, pair in enumerate(pairs)
    ]
