"""Weights & Biases: what a run sends there beside the curves that Lightning's own logger sends."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import Logger, WandbLogger

from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.replacing import replacing
from bet_lightning.runs.folder import EXPORTS, read_record
from bet_lightning.runs.measures import Sheet, action_sheet, histogram, places, result_sheet, summary
from bet_lightning.runs.records import RunRecord
from bet_lightning.serving.header import HEADER

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger(__name__)
RUN_ID = "wandb.txt"  # in a run folder: the id of its run in Weights & Biases
GLOBAL_STEP = "trainer/global_step"  # as Lightning's logger names it
_MAX_TAG = 64  # letters of a tag, which Weights & Biases limits


def prefer_offline(loggers: Iterable[Logger]) -> None:
    """Let loggers of Weights & Biases log offline, unless the user is logged in or chose a mode."""
    if not _of_wandb(loggers) or "WANDB_MODE" in os.environ:
        return
    import wandb

    if wandb.setup().settings.mode == "online" and not _is_logged_in():
        # not the variable: asking for the key has already read it
        wandb.setup(settings=wandb.Settings(mode="offline"))


def join(loggers: Iterable[Logger], folder: Path) -> None:
    """Name the run after its folder, unless it has a name, and go on with the one that the folder belongs to.

    To be called before a logger is used, since that begins its run.

    Args:
        loggers: Loggers of the run.
        folder: The run folder.
    """
    from bet_lightning.callbacks.devices import identify_wandb_run

    if "WANDB_SWEEP_ID" in os.environ:  # a sweep gives its runs their ids and names
        return
    name = f"{folder.parent.name}-{EXPORTS}" if folder.name == EXPORTS else folder.name
    wanted = {} if "WANDB_RUN_ID" in os.environ else {"id": run_id(folder)}
    wanted |= {} if "WANDB_NAME" in os.environ else {"name": name}
    for logger in _of_wandb(loggers):
        identify_wandb_run(logger, wanted)


def run_id(folder: Path) -> str | None:
    """Return the id in Weights & Biases of the run that a folder belongs to, if there is one."""
    path = folder / RUN_ID
    return path.read_text().strip() if path.is_file() else None


def sweep_folder() -> Path | None:
    """Return the run folder of a sweep's run, one for each; None where no sweep runs this process."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return Path("runs", f"sweep-{sweep}", run) if sweep and run else None


def group_runs(name: str) -> None:
    """Let the runs that this process begins belong to one group, unless the user named another."""
    os.environ.setdefault("WANDB_RUN_GROUP", name)


def others(loggers: Iterable[Logger]) -> list[Logger]:
    """Return the loggers that are not for Weights & Biases."""
    return [logger for logger in loggers if not isinstance(logger, WandbLogger)]


def finish(loggers: Iterable[Logger]) -> None:
    """End the runs of loggers that have begun one, so that the next command of this process begins its own."""
    for logger in _of_wandb(loggers):
        import wandb

        if wandb.run is not None and wandb.run.id == logger.version:
            wandb.finish(exit_code=0 if sys.exception() is None else 1)


class Dashboard:
    """The page of a run in Weights & Biases; nothing at all without a ``WandbLogger``.

    Its summary has what runs are sorted by: ``best/...`` of the best result within the first budget, whatever made
    it, ``best@<budget>/...`` of each budget where there are several, and ``results/<name>/...`` of every result.

    Args:
        loggers: Loggers of the run.
        folder: The run folder.
    """

    def __init__(self, loggers: Iterable[Logger], folder: Path) -> None:
        self._loggers = _of_wandb(loggers)
        self._folder = folder
        self._curves: set[str] = set()

    @classmethod
    def of_finished(cls, loggers: Iterable[Logger], folder: Path) -> Dashboard:
        """Return the dashboard of a finished run, which does nothing if that was not in Weights & Biases.

        Args:
            loggers: Loggers of a later command.
            folder: The run folder.
        """
        own = _of_wandb(loggers) if run_id(folder) else []
        join(own, folder)
        dashboard = cls(own, folder)
        if own:
            dashboard.begin(read_record(folder))
        return dashboard

    @property
    def _runs(self) -> Iterator[Run]:
        for logger in self._loggers:
            yield logger.experiment

    def begin(self, record: RunRecord) -> None:
        """Say what is run on what, at its beginning and again when it goes on from a checkpoint."""
        facts = {
            "dataset": dict(record.dataset),
            "budgets": [vars(budget) for budget in record.budgets],
            "full_table": {"d_max": record.d_max, "bytes": record.full_bytes},
            "versions": dict(record.versions),
        }
        before = run_id(self._folder)
        self.define_curves(["train/loss"], GLOBAL_STEP)
        self.define_curves(["probe/sizes"], "probe/iteration")
        for logger in self._loggers:
            logger.log_hyperparams(facts)
        for run in self._runs:
            if run.offline and before == run.id and run.step == 0:
                part = Path(run.dir).parent
                log.info("W&B is offline: %s is a further part of run %s, `wandb sync` needs all of them", part, run.id)
            if not run.disabled:
                with replacing(self._folder / RUN_ID) as partial:
                    partial.write_text(f"{run.id}\n")
            tags = (str(record.dataset["name"])[:_MAX_TAG], record.backbone, record.method)
            run.tags = tuple(dict.fromkeys((*(run.tags or ()), *tags)))

    def define_curves(self, names: Iterable[str], axis: str) -> None:
        """Let metrics be drawn against another one, and leave them out of the summary.

        Their last values are those of whichever training came last, by which no runs should be sorted.

        Args:
            names: Names of the metrics.
            axis: Name of the metric that they are drawn against.
        """
        new = [name for name in (axis, *names) if name not in self._curves]
        self._curves.update(new)
        for run in self._runs:
            for name in new:
                # one by one, no patterns: Lightning's own pattern matches all names, and which one counts is chance
                step = None if name == axis else axis
                run.define_metric(name, step_metric=step, summary="none", hidden=name == axis)

    def probed(self, records: Sequence[ProbeRecord]) -> None:
        """Add the sizes of the last probed action to what is logged next, and a table of all now and then.

        A table can be logged, not appended to, before version 0.20, and later in 100 parts at most. So it is logged
        whenever it has doubled.
        """
        if len(records) & (len(records) - 1) == 0:
            self._log_table("actions", action_sheet(records))
        action = records[-1].action
        for run in self._runs:
            import wandb

            sizes = wandb.Histogram(np_histogram=histogram(action.user_counts + action.item_counts))
            run.log({"probe/sizes": sizes}, commit=False)

    def update(self, record: RunRecord) -> None:
        """Bring the summary up to date."""
        for run in self._runs:
            run.summary.update(summary(record))

    def end(self, record: RunRecord, probes: Sequence[ProbeRecord], plots: Iterable[Path]) -> None:
        """Send what a finished run has: its summary, tables of results and of actions, pictures, and all sizes.

        Args:
            record: What the run says of itself.
            probes: Its probed actions.
            plots: Files of its pictures.
        """
        self.update(record)
        self._log_table("results", result_sheet(record))
        if probes:
            self._log_table("actions", action_sheet(probes))
        for logger in self._loggers:
            for plot in plots:
                logger.log_image(f"plots/{plot.stem}", [str(plot)])
        numbers = {name: value for name, value in summary(record).items() if name.startswith("best/")}
        for run in self._runs:
            run.log(numbers)  # a sweep may look for its metric in the history
            self._log_sizes(run, record)

    def tested(self, record: RunRecord) -> None:
        """Add test metrics to the summary and to the table of results."""
        for run in self._runs:
            for place, result in places(record):
                run.summary.update({f"{place}/test/{name}": value for name, value in result.test.items()})
        self._log_table("results", result_sheet(record))

    def packed(self, tables: Iterable[Path]) -> None:
        """Send packed tables as artifacts, each with its bytes and its budget.

        Args:
            tables: Their folders.
        """
        for run, table in itertools.product(self._runs, tables):
            import wandb

            header = json.loads((table / HEADER).read_text())
            metadata = {name: header[name] for name in ("dataset", "backbone", "budget", "dtype", "result", "bytes")}
            artifact = wandb.Artifact(
                _artifact_name("table", run, header["result"]["name"]), "model", metadata=metadata
            )
            artifact.add_dir(str(table))
            run.log_artifact(artifact, aliases=["latest", header["dtype"]])

    def _log_sizes(self, run: Run, record: RunRecord) -> None:
        import wandb

        sizes = self._folder / "sizes"
        if not sizes.is_dir():
            return
        results = {result.name: {"params": result.params, "bytes": result.bytes} for result in record.results}
        metadata = {"budgets": [vars(budget) for budget in record.budgets], "results": results}
        artifact = wandb.Artifact(_artifact_name("sizes", run), "sizes", metadata=metadata)
        artifact.add_dir(str(sizes))
        run.log_artifact(artifact)

    def _log_table(self, name: str, sheet: Sheet) -> None:
        for logger in self._loggers:
            logger.log_table(name, sheet.columns, sheet.rows)


def _of_wandb(loggers: Iterable[Logger]) -> list[WandbLogger]:
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def _is_logged_in() -> bool:
    """Whether there is a key, without asking the user or the network for one."""
    import wandb

    if "prompt" in signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # older versions


def _artifact_name(kind: str, run: Run, result: str | None = None) -> str:
    return re.sub(r"[^\w.-]", "_", "-".join([kind, run.id, *([result] if result else [])]))
