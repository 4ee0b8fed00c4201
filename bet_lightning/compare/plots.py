"""What a budget buys: a comparison's results as curves over parameters or bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from bet_lightning.compare.rows import Row, method_of
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing
from bet_lightning.runs.axes import in_bytes as label_bytes
from bet_lightning.runs.axes import in_shares
from bet_lightning.runs.style import FAINT, Style, draw, styles_of

_METRIC = "ndcg@20"
Curve = dict[float, float]  # metric by share of the full table's parameters, or by bytes


def plot_tradeoff(rows: Sequence[Row], path: Path) -> bool:
    """Draw test ndcg@20 against the parameters kept, or bytes: a panel a data set and backbone, a curve a method.

    A method's point is the best of its results at that budget. The full table is a line.

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
    drawn = {name: found for name, each in panels.items() if (found := curves(each))}
    if not any(len(curve) > 1 for found in drawn.values() for curve in found.values()):
        return False
    styles = styles_of(method for found in drawn.values() for method in found)  # of a method the same in every panel
    shown = [partial(_draw, name=name, rows=panels[name], found=found, styles=styles) for name, found in drawn.items()]
    figure = draw(shown, most_columns=3)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")
    return True


def in_bytes(rows: Sequence[Row]) -> bool:
    """Whether rows are of budgets in bytes, whose names have a unit."""
    return any(row.get("budget", "")[-1:].isalpha() for row in rows)


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return the best metric of each method at each share of the full table's parameters, or at each number of bytes.

    Where budgets cover deployments, bytes are those of the table and of what is beside it.

    Args:
        rows: Rows of one data set and backbone.
    """
    column = "bytes" if in_bytes(rows) else "params"
    full = max((float(row[column]) for row in rows if row["result"] == FULL and row[column]), default=0.0)
    unit = 1.0 if column == "bytes" else full
    found: dict[str, Curve] = {}
    for row in rows:
        if row["result"] == FULL or not row[column] or not full or not row.get(_METRIC):
            continue
        curve = found.setdefault(method_of(row), {})
        beside = float(row.get("beside") or 0) if column == "bytes" else 0.0
        share = (float(row[column]) + beside) / unit
        curve[share] = max(curve.get(share, 0.0), float(row[_METRIC]))
    return found


def full_quality(rows: Sequence[Row]) -> float | None:
    """Return the best metric of the full table, if there is one."""
    return max((float(row[_METRIC]) for row in rows if row["result"] == FULL and row.get(_METRIC)), default=None)


def _draw(axis: Axes, name: str, rows: Sequence[Row], found: Mapping[str, Curve], styles: Mapping[str, Style]) -> None:
    counts_bytes, full = in_bytes(rows), full_quality(rows)
    spent = [each for curve in found.values() for each in curve]
    (label_bytes if counts_bytes else in_shares)(axis.xaxis, spent)
    for method, curve in found.items():
        axis.plot(*zip(*sorted(curve.items()), strict=True), label=method, **styles[method])
    if full is not None:
        axis.axhline(full, color=FAINT, linestyle="--", label="full table")
    axis.set(title=name, xlabel="bytes" if counts_bytes else "parameters, % of full", ylabel=f"test {_METRIC}")
