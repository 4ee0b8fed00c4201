"""What a budget buys: a comparison's results as curves over parameters or bytes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bet_lightning.compare.entries import entries_of
from bet_lightning.compare.rows import Row
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing

_METRIC = "ndcg@20"
_AXES = ("data", "backbone", "method")
# Okabe and Ito's colours, which people of any colour vision tell apart, with a marker each, then again with others
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_STYLES = tuple(zip(_COLORS * 2, "os^DvPX*<>hpd8|x", strict=True))
Style = tuple[str, str]
Curve = dict[float, float]  # metric by share of the full table's parameters, or by bytes


def plot_tradeoff(rows: Sequence[Row], path: Path) -> bool:
    """Draw test ndcg@20 against the parameters kept, or bytes: a panel a data set and backbone, a curve a method.

    A method's point is the mean over seeds of its result at that budget. The full table is a line.

    Args:
        rows: Rows of a comparison.
        path: The PNG file to write.

    Returns:
        Whether there was anything to draw: several budgets of at least one method.
    """
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(_METRIC):
            panels.setdefault(", ".join(filter(None, (row.get("data"), row.get("backbone")))), []).append(row)
    drawn = {name: curves(each) for name, each in panels.items()}
    if not any(len(curve) > 1 for found in drawn.values() for curve in found.values()):
        return False
    figure = Figure(figsize=(5.2 * len(panels) + 1.6, 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    methods = dict.fromkeys(method for found in drawn.values() for method in found)
    styles = dict(zip(methods, _STYLES * len(methods), strict=False))  # of a method the same in every panel
    for axis, (name, found) in zip(axes, drawn.items(), strict=True):
        unit = "bytes" if in_bytes(panels[name]) else "params"
        _draw(axis, name, found, styles, full_quality(panels[name]), unit)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
    return True


def in_bytes(rows: Sequence[Row]) -> bool:
    """Whether rows are of budgets in bytes, whose names have a unit."""
    return any(row.get("budget", "")[-1:].isalpha() for row in rows)


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return the metric of each method at each share of the full table's parameters, or at each number of bytes.

    Both are means over seeds, as in the table. Where budgets cover deployments, bytes are those of the table and of
    what is beside it.

    Args:
        rows: Rows of one data set and backbone.
    """
    column = "bytes" if in_bytes(rows) else "params"
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


def _draw(
    axis: Axes, name: str, found: Mapping[str, Curve], styles: Mapping[str, Style], full: float | None, unit: str
) -> None:
    largest = max((each for curve in found.values() for each in curve), default=0.0)
    factor, named = (1e-6, "MB") if largest >= 1e6 else (1e-3, "kB")
    if unit != "bytes":
        factor, named = 100.0, "parameters kept, % of the full table"
    for method, curve in found.items():
        spent = sorted(curve)
        color, marker = styles[method]
        axis.plot(
            [factor * each for each in spent],
            [curve[each] for each in spent],
            color=color,
            marker=marker,
            label=method,
        )
    if full is not None:
        axis.axhline(full, color="grey", linestyle="--", linewidth=1, label="full table")
    axis.set(title=name, xlabel=named, ylabel=f"test {_METRIC}", xscale="log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
