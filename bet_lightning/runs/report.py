"""What a run says on the terminal: what it is about to do, its table of results, and what to do next."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.budget import format_bytes
from bet_lightning.ranking import quality
from bet_lightning.ranking.metrics import MEASURES
from bet_lightning.runs.records import RunRecord, Stage
from bet_lightning.table_format import TableShape


def print_results(record: RunRecord, stage: Stage) -> None:
    """Print the table of results, which fits 80 columns.

    Args:
        record: What a run says of itself.
        stage: Whose metrics to show.
    """
    console = Console()
    if not console.is_terminal:  # a pipe or a log file has no width of its own: do not cut the table there
        console = Console(width=max(120, console.width))
    console.print(results_table(record, stage))


def results_table(record: RunRecord, stage: Stage) -> Table:
    """Return the table of all results of a run, budget by budget; the best of each on validation is marked.

    Args:
        record: What a run says of itself.
        stage: Whose metrics to show: those of the longest lists, and all of them relative to the full table's.
    """
    data = "validation" if stage == "valid" else "test"
    title = f"{record.dataset['name']}, {record.backbone}, d_max {record.d_max}: {data}"
    best = {result.name for budget in record.budgets if (result := record.best(budget.name))}
    shown = [(result, metrics) for result in record.results if (metrics := result.metrics(stage))]
    ks = sorted(int(name.partition("@")[2]) for name in (shown[0][1] if shown else ()))
    names = [f"{measure}@{ks[-1]}" for measure in MEASURES] if ks else []
    several = len(record.budgets) > 1
    # what values are held as, or else how many there are
    in_bits = any(result.dtype != "fp32" for result in record.results)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column in (*["budget"] * several, "table"):
        table.add_column(column, no_wrap=True)
    for column in ("held as" if in_bits else "params", "bytes", *names, "of full", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    whole = record.full.metrics(stage) if record.full else {}
    order = [None, *(budget.name for budget in record.budgets)]
    for budget in order:
        of_budget = [(result, metrics) for result, metrics in shown if result.budget == budget]
        for number, (result, metrics) in enumerate(of_budget):
            name = result.name.partition("@")[0] if several else result.name
            told = [*[budget or ""] * several, f"{name} *" if result.name in best else name]
            held = result.dtype if in_bits else f"{result.params:,}"
            share = f"{quality(metrics) / quality(whole):.1%}" if whole and budget and quality(whole) else ""
            numbers = [f"{metrics[each]:.4f}" for each in names]
            last = number + 1 == len(of_budget)
            table.add_row(
                *told, held, format_bytes(result.bytes), *numbers, share, f"{result.seconds:.0f}", end_section=last
            )
    return table


def describe_plan(record: RunRecord, shape: TableShape) -> str:
    """Return what a run is about to do, in a line a budget.

    Args:
        record: What the run says of itself before it begins.
        shape: The full table.
    """
    full = f"{shape.params:,} parameters, {format_bytes(4 * shape.params)}"
    lines = [f"{record.method} with {record.backbone}, d_max {record.d_max}: a full table of {full}"]
    for budget in record.budgets:
        params = f"{budget.params:,} parameters, at most " if budget.unit == "params" else ""
        beside = f" for the table, {format_bytes(budget.beside)} for what is beside it" if budget.beside else ""
        share = budget.bytes / (4 * shape.params)
        lines.append(f"budget {budget.name}: {params}{format_bytes(budget.bytes)} ({share:.2%} of those bytes){beside}")
    return "\n".join(lines)


def next_commands(config: Path) -> str:
    """Return the commands that use a finished run, to be copied."""
    program = "python -m bet_lightning"
    return "\n".join(
        (
            f"test metrics: {program} test --config {config}",
            f"top lists:    {program} predict --config {config} --predictions.path top.csv",
            f"packed table: {program} export --config {config} --output table",
        )
    )
