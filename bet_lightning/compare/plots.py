"""What a budget buys: a comparison's results as curves over kept parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bet_lightning.compare.rows import Row
from bet_lightning.methods.tasks import FULL
from bet_lightning.replacing import replacing

_METRIC = "ndcg@20"
# Okabe and Ito's colours, which people of any colour vision tell apart, with a marker each
_STYLES = (
    *(("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P")),
    *(("#000000", "X"), ("#999999", "*")),
)
Curve = dict[float, float]  # metric by share of the full table's parameters


def plot_tradeoff(rows: Sequence[Row], path: Path) -> bool:
    """Draw test ndcg@20 against the share of parameters kept: a panel a data set and backbone, a curve a method.

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
    drawn = {name: curves(each) for name, each in panels.items()}
    if not any(len(curve) > 1 for found in drawn.values() for curve in found.values()):
        return False
    figure = Figure(figsize=(5.2 * len(panels) + 1.6, 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, found) in zip(axes, drawn.items(), strict=True):
        _draw(axis, name, found, full_quality(panels[name]))
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
    return True


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return the best metric of each method at each share of the full table's parameters.

    Args:
        rows: Rows of one data set and backbone.
    """
    full = max((float(row["params"]) for row in rows if row["result"] == FULL and row["params"]), default=0.0)
    found: dict[str, Curve] = {}
    for row in rows:
        if row["result"] == FULL or not row["params"] or not full or not row.get(_METRIC):
            continue
        # a rule that was trained beside a search is a method of its own
        method = row["method"] if row["result"] in ("bet", row["method"]) else row["result"]
        curve = found.setdefault(method, {})
        share = float(row["params"]) / full
        curve[share] = max(curve.get(share, 0.0), float(row[_METRIC]))
    return found


def full_quality(rows: Sequence[Row]) -> float | None:
    """Return the best metric of the full table, if there is one."""
    return max((float(row[_METRIC]) for row in rows if row["result"] == FULL and row.get(_METRIC)), default=None)


def _draw(axis: Axes, name: str, found: Mapping[str, Curve], full: float | None) -> None:
    for (method, curve), (color, marker) in zip(found.items(), _STYLES * len(found), strict=False):
        shares = sorted(curve)
        axis.plot(
            [100 * share for share in shares],
            [curve[share] for share in shares],
            color=color,
            marker=marker,
            label=method,
        )
    if full is not None:
        axis.axhline(full, color="grey", linestyle="--", linewidth=1, label="full table")
    ticks = sorted({round(100 * share, 1) for curve in found.values() for share in curve})
    axis.set(title=name, xlabel="parameters kept, % of the full table", ylabel=f"test {_METRIC}", xscale="log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
