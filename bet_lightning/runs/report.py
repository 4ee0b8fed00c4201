"""What a finished run shows: the table on the terminal, plots in the run folder, both in Weights & Biases."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pytorch_lightning.loggers import Logger, WandbLogger
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bet_lightning.budget import format_bytes
from bet_lightning.runs.folder import read_record
from bet_lightning.runs.plots import plot_run
from bet_lightning.runs.records import BudgetRecord, RunRecord

Stage = Literal["valid", "test"]


def print_results(record: RunRecord, stage: Stage) -> None:
    """Print the table of results.

    Args:
        record: What a run says of itself.
        stage: Whose metrics to show.
    """
    console = Console()
    if not console.is_terminal:  # a pipe or a log file has no width of its own: do not cut the table there
        console = Console(width=max(120, console.width))
    console.print(results_table(record, stage))


def results_table(record: RunRecord, stage: Stage) -> Table:
    """Return the table of all results of a run; the best of each budget is marked.

    Args:
        record: What a run says of itself.
        stage: Whose metrics to show.
    """
    budgets = ", ".join(map(_budget_text, record.budgets))
    title = f"{record.dataset['name']}, {record.backbone}, d_max {record.d_max}, budget {budgets}: {stage} metrics"
    best = {result.name for budget in record.budgets if (result := record.best(budget.name))}
    shown = [(result, result.valid if stage == "valid" else result.test) for result in record.results]
    shown = [(result, metrics) for result, metrics in shown if metrics]
    names = list(shown[0][1]) if shown else []
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    # what values are held as, or else how many there are: with both, a terminal of 80 columns would not do
    in_bits = any(result.dtype != "fp32" for result in record.results)
    for column in ("table", "held as" if in_bits else "params", "bytes", *names, "s"):
        table.add_column(column.replace("@", "\n@"), justify="left" if column == "table" else "right", no_wrap=True)
    for result, metrics in shown:
        values = [f"{metrics[name]:.4f}" for name in names]
        name = f"{result.name} *" if result.name in best else result.name
        held = result.dtype if in_bits else f"{result.params:,}"
        table.add_row(name, held, format_bytes(result.bytes), *values, f"{result.seconds:.0f}")
    return table


def _budget_text(budget: BudgetRecord) -> str:
    return f"{budget.name} ({budget.params:,} parameters)" if budget.unit == "params" else budget.name


def report_run(folder: Path, loggers: Iterable[Logger]) -> None:
    """Draw the plots of a finished run and hand plots and table to Weights & Biases.

    Args:
        folder: The run folder.
        loggers: Loggers of the run.
    """
    record = read_record(folder)
    plots = plot_run(folder)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            names = list(record.results[0].valid)
            columns = ["name", "budget", "params", "bytes", "dtype", *names, "seconds"]
            rows = [
                [r.name, r.budget or "", r.params, r.bytes, r.dtype, *(r.valid[name] for name in names), r.seconds]
                for r in record.results
            ]
            logger.log_table("results", columns=columns, data=rows)
            for plot in plots:
                logger.log_image(f"plots/{plot.stem}", [str(plot)])


def define_axes(loggers: Iterable[Logger]) -> None:
    """Let Weights & Biases draw each phase against its own count rather than the global step.

    Args:
        loggers: Loggers of the run.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for prefix, axis in (("pretrain", "pretrain/epoch"), ("probe", "probe/iteration")):
                logger.experiment.define_metric(axis, hidden=True)
                logger.experiment.define_metric(f"{prefix}/*", step_metric=axis)


def define_result_axis(loggers: Iterable[Logger], result: str) -> None:
    """Let Weights & Biases draw the training of a result against its own epochs."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            axis = f"retrain/{result}/epoch"
            logger.experiment.define_metric(axis, hidden=True)
            logger.experiment.define_metric(f"retrain/{result}/*", step_metric=axis)
