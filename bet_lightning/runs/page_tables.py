"""What the page of a run says in words and numbers."""

from collections.abc import Mapping

from bet_lightning.budget import format_bytes
from bet_lightning.ranking import quality
from bet_lightning.runs.pages import PageRow, PageTable
from bet_lightning.runs.popularity_plots import SideProfile
from bet_lightning.runs.records import ResultRecord, RunRecord, Stage
from bet_lightning.runs.result_plots import STAGES

_MOST_CLAUSES = 4  # of a sentence


def summarize(record: RunRecord) -> str:
    """Return the result of a run in a sentence: what the best table of each budget keeps of the full table's quality.

    Args:
        record: What the run says of itself.
    """
    tested = bool(record.results) and all(result.test for result in record.results)
    stage: Stage = "test" if tested else "valid"
    whole = _full_quality(record, stage)
    clauses = []
    for budget in record.budgets:
        if best := record.best(budget.name):
            reached = quality(best.metrics(stage))
            kept = f"{reached / whole:.1%} of the full table's quality" if whole else f"a quality of {reached:.4f}"
            share = record.share_of_bytes(best)
            name = best.name.partition("@")[0]
            whose = "its" if whole else "the full table's"
            clauses.append(f"within {budget.label}, {name} reaches {kept} in {share:.2%} of {whose} bytes")
    if not clauses:
        return f"{record.method} has no result within a budget yet."
    if len(clauses) > _MOST_CLAUSES:
        clauses[2:-1] = [f"{len(clauses) - 3} budgets between are in the table"]
    return f"On {STAGES[stage]} data, {'; '.join(clauses)}."


def result_table(record: RunRecord, stage: Stage) -> PageTable:
    """Return the results that have metrics of a stage, the full table first, then budget by budget.

    Args:
        record: What the run says of itself.
        stage: Whose metrics are shown: those of the longest lists, and all of them relative to the full table's.
    """
    shown = _in_order(record, stage)
    whole = _full_quality(record, stage)
    names = list(shown[0].metrics(stage)) if shown else []
    longest = [name for name in names if name.partition("@")[2] == names[-1].partition("@")[2]]
    best = {result.name for budget in record.budgets if (result := record.best(budget.name))}
    sizes = ("bytes", "bytes, of full", "held as", "parameters")
    columns = ("budget", "table", *(["quality, of full"] if whole else []), *sizes, *longest, "best epoch", "seconds")
    rows = []
    for result in shown:
        budget, reached = record.budget_of(result), result.metrics(stage)
        cells = (
            budget.label if budget else "",
            result.name.partition("@")[0],
            *([f"{quality(reached) / whole:.1%}"] if whole else []),
            format_bytes(result.bytes),
            f"{record.share_of_bytes(result):.2%}",
            result.dtype,
            f"{result.params:,}",
            *(f"{reached[name]:.4f}" for name in longest),
            f"{result.best_epoch} of {result.epochs}",
            f"{result.seconds:,.0f}",
        )
        rows.append(PageRow(cells, result.name in best))
    return PageTable(columns, tuple(rows), words=2)


def metrics_table(record: RunRecord, stage: Stage) -> PageTable:
    """Return every metric of a stage.

    Args:
        record: What the run says of itself.
        stage: Whose metrics are shown.
    """
    shown = _in_order(record, stage)
    names = list(shown[0].metrics(stage)) if shown else []
    rows = (PageRow((each.name, *(f"{each.metrics(stage)[name]:.4f}" for name in names))) for each in shown)
    return PageTable(("table", *names), tuple(rows))


def empty_table(profiles: Mapping[str, tuple[SideProfile, SideProfile]]) -> PageTable:
    """Return how many users and items have nothing in each table.

    Args:
        profiles: Of users and items, by the name of the result.
    """

    def counted(side: SideProfile) -> str:
        return f"{side.num_empty:,} of {side.num_rows:,} ({side.num_empty / side.num_rows:.1%})"

    rows = (PageRow((name, counted(users), counted(items))) for name, (users, items) in profiles.items())
    return PageTable(("table", "users with nothing", "items with nothing"), tuple(rows))


def _in_order(record: RunRecord, stage: Stage) -> list[ResultRecord]:
    names = (None, *(budget.name for budget in record.budgets))
    return [each for name in names for each in record.results if each.budget == name and each.metrics(stage)]


def _full_quality(record: RunRecord, stage: Stage) -> float:
    return quality(record.full.metrics(stage)) if record.full and record.full.metrics(stage) else 0.0
