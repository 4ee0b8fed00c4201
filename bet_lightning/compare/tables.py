"""A comparison's results side by side: a line a method, a column a budget, as Markdown and LaTeX."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bet_lightning.compare.rows import Row, method_of
from bet_lightning.methods.tasks import FULL
from bet_lightning.ranking import quality

_METRICS = ("recall@20", "ndcg@20")


class Grid(NamedTuple):
    """A table of texts.

    Attributes:
        header: Names of the columns.
        lines: As many texts each.
    """

    header: list[str]
    lines: list[list[str]]

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---"] * len(self.header)
        return "".join(f"| {' | '.join(line)} |\n" for line in (self.header, rule, *self.lines))

    def latex(self) -> str:
        """Return it as a LaTeX tabular of the booktabs package."""
        head, *lines = (" & ".join(map(_escaped, line)) + r" \\" for line in (self.header, *self.lines))
        columns = "l" * len(self.header)
        rows = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule"]
        return "\n".join([*rows, r"\end{tabular}", ""])


def side_by_side(rows: Sequence[Row], axes: Sequence[str]) -> Grid:
    """Return test recall@20 / ndcg@20 by method and budget: means over seeds, with the standard deviation of ndcg@20.

    Of results that share budget and seed, the one that is best on validation counts. Full tables have a column of
    their own.

    Args:
        rows: Rows of a comparison.
        axes: Its axes; the method's comes last in the table.
    """
    found: dict[tuple[str, ...], dict[str, dict[str, Row]]] = {}
    for row in rows:
        if not row.get(_METRICS[0]):
            continue
        key = (*(row.get(axis, "") for axis in axes if axis != "method"), method_of(row))
        column = FULL if row["result"] == FULL else row["budget"]
        seeds = found.setdefault(key, {}).setdefault(column, {})
        kept = seeds.get(row["seed"])
        if kept is None or _valid(row) > _valid(kept):
            seeds[row["seed"]] = row
    budgets = dict.fromkeys(name for cells in found.values() for name in cells if name != FULL)
    columns = [FULL, *budgets]
    others = [axis for axis in axes if axis != "method"]
    lines = [
        [*key, *(_cell(list(cells.get(column, {}).values())) for column in columns)] for key, cells in found.items()
    ]
    return Grid([*others, "method", "full table", *budgets], lines)


def _valid(row: Row) -> float:
    """Quality on validation, 0 where it was not noted."""
    metrics = {name: float(row[f"valid_{name}"]) for name in _METRICS if row.get(f"valid_{name}")}
    return quality(metrics) if metrics else 0.0


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    values = [[float(row[name]) for row in rows] for name in _METRICS]
    text = " / ".join(f"{statistics.mean(each):.4f}" for each in values)
    return f"{text} ± {statistics.stdev(values[1]):.4f}" if len(rows) > 1 else text


def _escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    for character in "&%_#":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$")
