"""What a finished run shows: the table on the terminal, plots in the run folder, both in Weights & Biases."""

from collections.abc import Iterable
from pathlib import Path

from pytorch_lightning.loggers import Logger, WandbLogger
from rich.console import Console

from bet_lightning.plots import plot_run
from bet_lightning.results import Summary, read_summary, results_table

# metric prefixes and the metric that counts along their x-axis
_AXES = {"pretrain": "pretrain/epoch", "probe": "probe/iteration"}


def print_results(summary: Summary, stage: str) -> None:
    """Print the table of results.

    Args:
        summary: Content of ``summary.json``.
        stage: ``valid`` or ``test``.
    """
    console = Console()
    if not console.is_terminal:  # a pipe or a log file has no width of its own: do not cut the table there
        console = Console(width=max(120, console.width))
    console.print(results_table(summary, stage))


def report_run(folder: Path, loggers: Iterable[Logger]) -> None:
    """Draw the plots of a finished run and hand plots and table to Weights & Biases.

    Args:
        folder: The run folder.
        loggers: Loggers of the run.
    """
    summary = read_summary(folder)
    plots = plot_run(folder)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            columns = ["name", "params", "bytes", *summary["results"][0]["valid"], "seconds"]
            rows = [[{**result, **result["valid"]}[name] for name in columns] for result in summary["results"]]
            logger.log_table("results", columns=columns, data=rows)
            for plot in plots:
                logger.log_image(f"plots/{plot.stem}", [str(plot)])


def define_axes(loggers: Iterable[Logger], retrained: Iterable[str]) -> None:
    """Let Weights & Biases draw each phase against its own count rather than the global step.

    Args:
        loggers: Loggers of the run.
        retrained: Names of the results that are retrained.
    """
    axes = {**_AXES, **{f"retrain/{name}": f"retrain/{name}/epoch" for name in retrained}}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for prefix, axis in axes.items():
                logger.experiment.define_metric(axis, hidden=True)
                logger.experiment.define_metric(f"{prefix}/*", step_metric=axis)
