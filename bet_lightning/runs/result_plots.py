"""Plots of the results of a run: what bytes buy, how trainings went, and where bytes go."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from bet_lightning.ranking import quality
from bet_lightning.runs.axes import in_bytes, in_bytes_from_zero, in_counts, in_percent, percent, with_room
from bet_lightning.runs.curves import CurvePoint
from bet_lightning.runs.folder import read_rows, sizes_path
from bet_lightning.runs.records import ResultRecord, RunRecord, Stage
from bet_lightning.runs.style import COLORS, FAINT, Plot, Style, styles_of
from bet_lightning.table_format import TableFormat

STAGES: Mapping[Stage, str] = {"valid": "validation", "test": "test"}
_CHARACTER = 0.02  # of a panel's width, that a character of a label takes
_BAR = 0.36  # of a result's height that its bar takes; the rest is for its name
_FULL_LINE = "full table"


def tradeoff_plot(record: RunRecord) -> Plot | None:
    """Return what every kind of table reaches by its bytes, on validation data and, once tested, on test data."""
    stages = [stage for stage in STAGES if record.results and all(each.metrics(stage) for each in record.results)]
    if not stages or all(result.budget is None for result in record.results):
        return None
    caption = (
        "A point is a table, a curve a kind of table. Quality is the mean of recall and ndcg over all list lengths. "
        "Upright lines are the budgets, with their share of the full table's bytes."
    )
    panels = tuple(partial(_draw_tradeoff, record=record, stage=stage) for stage in stages)
    return Plot("budgets", "Quality for bytes", caption, panels)


def training_plot(record: RunRecord, points: Sequence[CurvePoint]) -> Plot | None:
    """Return how validation quality went, a panel a phase."""
    if not points:
        return None
    whole = record.full.quality if record.full else 0.0
    styles = styles_of(point.name for point in points)
    caption = (
        "Validation quality after each epoch of the trainings that compete for a result; epoch 0 is the table that a "
        "training starts from. A result may have been trained several times."
    )
    panels = tuple(
        partial(_draw_training, phase=phase, points=points, styles=styles, whole=whole)
        for phase in dict.fromkeys(point.phase for point in points)
    )
    return Plot("training", "Training", caption, panels)


def bytes_plot(folder: Path, record: RunRecord) -> Plot | None:
    """Return where the bytes of each table within a budget go."""
    parts = {each.name: byte_parts(folder, record, each) for each in record.results if each.budget is not None}
    if not parts:
        return None
    caption = (
        "Bytes as written. What is beside values says which rows have some, how many, and their steps. Bytes beside "
        "the table count where the budget covers the deployment."
    )
    height = 1.1 + 0.42 * len(parts)
    return Plot("bytes", "Where the bytes go", caption, (partial(_draw_bytes, record=record, parts=parts),), height)


def byte_parts(folder: Path, record: RunRecord, result: ResultRecord) -> dict[str, int]:
    """Return the bytes of a table by what they are for; only their sum where its rows have no sizes.

    Args:
        folder: The run folder.
        record: What the run says of itself.
        result: The table's result.
    """
    beside = {"beside the table": result.beside} if result.beside else {}
    sizes = read_rows(sizes_path(folder, result.name))
    if sizes is None:
        return {"table": result.bytes} | beside
    values = min(TableFormat(result.dtype).value_bytes(result.params), result.bytes)
    of_users = round(values * int(sizes[: int(record.dataset["users"])].sum()) / max(1, result.params))
    rest = {"sizes and steps of rows": result.bytes - values}
    return {"values of users": of_users, "values of items": values - of_users} | rest | beside


def _draw_tradeoff(axis: Axes, record: RunRecord, stage: Stage) -> None:
    whole = quality(record.full.metrics(stage)) if record.full else 0.0
    curves: dict[str, list[tuple[int, float]]] = {}
    for result in record.results:
        if result.budget is not None:
            point = (result.bytes + result.beside, quality(result.metrics(stage)) / (whole or 1.0))
            curves.setdefault(result.name.partition("@")[0], []).append(point)
    budgets = {budget.label: float(budget.bytes + budget.beside) for budget in record.budgets}
    spent = [float(num_bytes) for points in curves.values() for num_bytes, _ in points]
    in_bytes(axis.xaxis, [*spent, *budgets.values()])
    for position in budgets.values():
        axis.axvline(position, color=FAINT, linewidth=0.8, linestyle=":")
    for name, style in styles_of(curves).items():
        axis.plot(*zip(*sorted(curves[name]), strict=True), label=name, **style)
    if whole:
        axis.axhline(1.0, color=FAINT, linestyle="--", label=_FULL_LINE)
        in_percent(axis.yaxis)
    unit = ", % of full" if whole else ""
    axis.set(xlabel="bytes", ylabel=f"{STAGES[stage]} quality{unit}")
    shares = {label: f"{label}\n{_share(position, record)} of full" for label, position in budgets.items()}
    for labels in (shares, {label: label for label in budgets}):  # shares only where all have room
        widest = max(len(line) for label in labels.values() for line in label.splitlines())
        named = with_room(budgets, *axis.get_xlim(), (widest + 1) * _CHARACTER)
        if len(named) == len(budgets):
            break
    top = axis.secondary_xaxis("top")
    top.set_xticks(list(named.values()), [labels[label] for label in named])
    top.minorticks_off()
    top.tick_params(length=0)
    top.spines["top"].set_visible(False)


def _share(num_bytes: float, record: RunRecord) -> str:
    return percent(float(f"{num_bytes / record.full_bytes:.3g}"))


def _draw_training(
    axis: Axes, phase: str, points: Sequence[CurvePoint], styles: Mapping[str, Style], whole: float
) -> None:
    trainings: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for point in (each for each in points if each.phase == phase):
        reached = quality(point.metrics) / (whole or 1.0)
        trainings.setdefault((point.name, point.training), []).append((point.epoch, reached))
    for (name, _), curve in trainings.items():
        axis.plot(*zip(*sorted(curve), strict=True), markersize=3, label=name, **styles[name])
    if whole:
        axis.axhline(1.0, color=FAINT, linestyle="--", label=f"{_FULL_LINE} at its best")
        in_percent(axis.yaxis)
    in_counts(axis.xaxis)
    unit = ", % of full" if whole else ""
    axis.set(title=phase, xlabel="epoch", ylabel=f"validation quality{unit}")


def _draw_bytes(axis: Axes, record: RunRecord, parts: Mapping[str, Mapping[str, int]]) -> None:
    names = dict.fromkeys(part for each in parts.values() for part in each)
    colors = dict(zip(names, COLORS, strict=False))
    for row, (result, each) in enumerate(parts.items()):
        share = _share(sum(each.values()), record)
        axis.text(0, row - 0.4, f"{result}, {share} of the full table's bytes", va="center", fontsize=8)
        begin = 0
        for part, num_bytes in each.items():
            axis.barh(row, num_bytes, _BAR, left=begin, color=colors[part], label=part)
            begin += num_bytes
    in_bytes_from_zero(axis.xaxis, max(sum(each.values()) for each in parts.values()))
    axis.set(ylim=(len(parts) - 0.7, -0.65), yticks=[], xlabel="bytes")
    axis.spines["left"].set_visible(False)
