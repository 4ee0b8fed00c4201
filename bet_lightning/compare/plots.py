"""What a budget buys: a comparison's results as curves over parameters or bytes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from bet_lightning.compare.entries import entries_of
from bet_lightning.compare.rows import Row
from bet_lightning.methods.tasks import FULL
from bet_lightning.runs.axes import in_bytes, in_shares
from bet_lightning.runs.style import FAINT, Plot, Style, styles_of

_METRIC = "ndcg@20"
_AXES = ("data", "backbone", "method")
Curve = dict[float, float]  # metric by share of the full table's parameters, or by bytes


def tradeoff_plot(rows: Sequence[Row]) -> Plot | None:
    """Return test ndcg@20 against the parameters kept, or bytes: a panel a data set and backbone, a curve a method.

    Args:
        rows: Rows of a comparison; there is nothing to draw without several budgets of at least one method.
    """
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(_METRIC):
            panels.setdefault(", ".join(filter(None, (row.get("data"), row.get("backbone")))), []).append(row)
    drawn = {name: found for name, each in panels.items() if (found := curves(each))}
    if not any(len(curve) > 1 for found in drawn.values() for curve in found.values()):
        return None
    styles = styles_of(method for found in drawn.values() for method in found)  # of a method the same in every panel
    shown = (partial(_draw, name=name, rows=panels[name], found=found, styles=styles) for name, found in drawn.items())
    caption = (
        "A method's point is the mean over seeds of its result at that budget. The dashed line is the full table, the "
        "best of those that methods trained."
    )
    return Plot("budgets", "What a budget buys", caption, tuple(shown), most_columns=3)


def spends_bytes(rows: Sequence[Row]) -> bool:
    """Whether rows are of budgets in bytes, whose names have a unit."""
    return any(row.get("budget", "")[-1:].isalpha() for row in rows)


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return the metric of each method at each share of the full table's parameters, or at each number of bytes.

    Both are means over seeds, as in the table. Where budgets cover deployments, bytes are those of the table and of
    what is beside it.

    Args:
        rows: Rows of one data set and backbone.
    """
    column = "bytes" if spends_bytes(rows) else "params"
    full = max((float(row[column]) for row in rows if row["result"] == FULL and row[column]), default=0.0)
    unit = 1.0 if column == "bytes" else full
    found: dict[str, Curve] = {}
    for entry in entries_of(rows, _AXES):
        if entry.budget == FULL or not full or not all(row[column] for row in entry.rows):
            continue
        beside = "beside" if column == "bytes" else ""
        spent = statistics.fmean(float(row[column]) + float(row.get(beside) or 0) for row in entry.rows)
        found.setdefault(entry.method, {})[spent / unit] = entry.mean(_METRIC)
    return found


def full_quality(rows: Sequence[Row]) -> float | None:
    """Return the metric of the full table, the best of those that methods trained, if there is one."""
    full = (entry for entry in entries_of(rows, _AXES) if entry.budget == FULL)
    return max((entry.mean(_METRIC) for entry in full), default=None)


def _draw(axis: Axes, name: str, rows: Sequence[Row], found: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    counts_bytes, full = spends_bytes(rows), full_quality(rows)
    spent = [each for curve in found.values() for each in curve]
    (in_bytes if counts_bytes else in_shares)(axis.xaxis, spent)
    for method, curve in found.items():
        axis.plot(*zip(*sorted(curve.items()), strict=True), label=method, **styles[method])
    if full is not None:
        axis.axhline(full, color=FAINT, linestyle="--", label="full table")
    axis.set(title=name, xlabel="bytes" if counts_bytes else "parameters, % of full", ylabel=f"test {_METRIC}")
