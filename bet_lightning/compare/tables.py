"""A comparison's results side by side: a line a method, a column a budget, as Markdown and LaTeX."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from bet_lightning.compare.entries import METRICS, Entry, best_and_rivals, contests, group_axes
from bet_lightning.compare.significance import LEVEL, Pair
from bet_lightning.methods.tasks import FULL

_DIFFERS = "†"
BOLD = re.compile(r"\*\*(.*?)\*\*")


class Grid(NamedTuple):
    """A table of texts, in Markdown.

    Attributes:
        header: Names of the columns.
        lines: As many texts each.
        note: What stands below.
    """

    header: list[str]
    lines: list[list[str]]
    note: str

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---"] * len(self.header)
        table = "".join(f"| {' | '.join(line)} |\n" for line in (self.header, rule, *self.lines))
        return f"{table}\n{self.note}\n" if self.note else table

    def latex(self) -> str:
        """Return it as a LaTeX tabular of the booktabs package; the note is a paragraph below."""
        head, *lines = (" & ".join(map(_as_latex, line)) + r" \\" for line in (self.header, *self.lines))
        columns = "l" * len(self.header)
        rows = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule"]
        note = ["", rf"{{\footnotesize {_as_latex(self.note)}\par}}"] if self.note else []
        return "\n".join([*rows, r"\end{tabular}", *note, ""])


def side_by_side(entries: Sequence[Entry], axes: Sequence[str], pairs: Sequence[Pair] = ()) -> Grid:
    """Return test recall@20 / ndcg@20 by method and budget: means over seeds, with the standard deviation of ndcg@20.

    The best of a budget on test is bold, and a rival that differs from it significantly has a dagger. Full tables have
    a column of their own.

    Args:
        entries: Entries of a comparison.
        axes: Its axes; the method's comes last in the table.
        pairs: What was compared user by user.
    """
    best = {
        (contest[0].group, contest[0].budget, metric, best_and_rivals(contest, metric)[0].method)
        for contest in contests(entries)
        for metric in METRICS
    }
    differing = {(pair.group, pair.budget, pair.metric, pair.rival) for pair in pairs if pair.differs}
    budgets = list(dict.fromkeys(entry.budget for entry in entries if entry.budget != FULL))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for entry in entries:
        numbers = []
        for metric in METRICS:
            place = (entry.group, entry.budget, metric, entry.method)
            text = f"{entry.mean(metric):.4f}"
            numbers.append(f"**{text}**" if place in best else text + _DIFFERS * (place in differing))
        spread = statistics.stdev(float(row[METRICS[1]]) for row in entry.rows) if len(entry.rows) > 1 else None
        text = " / ".join(numbers) + (f" ± {spread:.4f}" if spread is not None else "")
        lines.setdefault((*entry.group, entry.method), {})[entry.budget] = text
    filled = [[*names, *(texts.get(budget, "") for budget in (FULL, *budgets))] for names, texts in lines.items()]
    return Grid([*group_axes(axes), "method", "full table", *budgets], filled, _note(entries, pairs) if best else "")


def _note(entries: Sequence[Entry], pairs: Sequence[Pair]) -> str:
    """What bold and daggers mean, and what could not be marked."""
    bold = "Bold: the best of its budget on test."
    if not pairs:
        return f"{bold} Differences are not tested: no metrics of single users were kept."
    users = sorted({pair.users for pair in pairs})
    number = f"{users[0]:,}" if len(users) == 1 else f"{users[0]:,} to {users[-1]:,}"
    test = (
        f"{_DIFFERS}: differs from it with p < {LEVEL:g} by a paired t-test over {number} users, each with the mean "
        "over seeds, after Holm's correction over its rivals."
    )
    count = len(METRICS) * sum(len(contest) - 1 for contest in contests(entries))
    if left := count - len(pairs):
        test += f" {left} of {count} differences are not tested and have no mark: no metrics of single users were kept."
    return f"{bold} {test}"


def _as_latex(text: str) -> str:
    """Return a Markdown text as LaTeX prints it."""
    for character in "&%_#":
        text = text.replace(character, f"\\{character}")
    text = text.replace("±", r"$\pm$").replace(_DIFFERS, r"$^\dagger$").replace("<", "$<$")
    return BOLD.sub(r"\\textbf{\1}", text)
