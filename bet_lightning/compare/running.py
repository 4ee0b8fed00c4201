"""Runs cells: a ``fit`` and a ``test`` each, in this process or several at once in processes of their own."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

import yaml
from filelock import FileLock

from bet_lightning.compare.cells import Cell, Comparison
from bet_lightning.compare.processes import Command, Processes, environment_of
from bet_lightning.compare.rows import Row, in_order, read_rows, rows_of, without_cell, write_rows
from bet_lightning.methods.tasks import FULL
from bet_lightning.runs.folder import read_record

log = logging.getLogger(__name__)
FULL_CHECKPOINT = Path("checkpoints", f"{FULL}.ckpt")


class CellRunner:
    """Runs cells of a comparison and writes their rows into its CSV as soon as they are done.

    Args:
        comparison: The comparison.
        runs: Folder of its runs.
        overrides: Further arguments of every ``fit``, as where data lies on this machine.
        max_seconds: Begin no further cell after so long.

    Attributes:
        failed: Names of the cells that failed.
        left: Number of cells that were not begun.
    """

    def __init__(
        self, comparison: Comparison, runs: Path, overrides: Sequence[str], max_seconds: float | None = None
    ) -> None:
        self.comparison = comparison
        self.runs = runs
        self.overrides = list(overrides)
        self.max_seconds = max_seconds
        self.failed: list[str] = []
        self.left = 0
        self._ended = 0
        self._began = time.monotonic()

    def run_here(self, cells: Sequence[Cell], command: Command) -> None:
        """Run cells one after another.

        Args:
            cells: The cells.
            command: Runs one command of the command line, and raises ``SystemExit`` where it fails.
        """
        for number, cell in enumerate(cells):
            self._run(cell, command, number, len(cells))

    def run_in_parallel(self, cells: Sequence[Cell], jobs: int) -> None:
        """Run several cells at once, each in a process of its own, whose output goes into a file beside its folder.

        The processes share the GPUs, or else the CPU's threads, among them. Cells that start from the full table of
        another one come last, and wait for it.

        Args:
            cells: The cells.
            jobs: How many at once.
        """
        slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(jobs):
            slots.put(slot)
        processes = Processes()

        def run(cell: Cell, number: int, source: Future[None] | None) -> None:
            if source:
                wait([source])
            slot = slots.get()
            try:
                run_folder = cell.folder(self.runs)
                said = run_folder.with_name(f"{run_folder.name}.log")
                self._run(cell, processes.command(said, environment_of(slot, jobs)), number, len(cells))
            finally:
                slots.put(slot)

        names = {cell.name for cell in cells}
        sources = {cell.name: source.name for cell in cells if (source := self.comparison.source_of(cell))}
        ordered = sorted(cells, key=lambda cell: sources.get(cell.name) in names)
        begun: dict[str, Future[None]] = {}
        pool = ThreadPoolExecutor(jobs)
        # the default would end this process alone and leave those of cells running
        before = signal.signal(signal.SIGTERM, _end)
        try:
            for number, cell in enumerate(ordered):
                begun[cell.name] = pool.submit(run, cell, number, begun.get(sources.get(cell.name, "")))
            for future in begun.values():
                future.result()
        finally:
            processes.end()
            pool.shutdown(cancel_futures=True)
            signal.signal(signal.SIGTERM, before)

    def _run(self, cell: Cell, command: Command, number: int, count: int) -> None:
        """Run a cell and write its rows, unless there is no time left."""
        spent = time.monotonic() - self._began
        if self.max_seconds is not None and spent > self.max_seconds:
            self.left += 1
            return
        rate = f", about {spent / self._ended * (count - self._ended) / 60:.0f} min left" if self._ended else ""
        log.info("cell %d of %d%s: %s", number + 1, count, rate, cell.name)
        try:
            start = start_of(self.comparison.source_of(cell), self.runs)
            found = run_cell(cell, self.runs, command, [*start, *self.overrides])
        except SystemExit as stop:
            if stop.code not in (1, 2):
                raise
            self.failed.append(cell.name)
        else:
            table = self.comparison.table
            with FileLock(table.with_suffix(".lock")):
                # read again: others may have added rows of other cells
                rows = [*without_cell(cell, read_rows(table)), *found]
                write_rows(table, in_order(rows, self.comparison.cells))
        self._ended += 1


def run_cell(cell: Cell, runs: Path, command: Command, overrides: Sequence[str]) -> list[Row]:
    """Run a cell, or go on with it, and return its rows.

    Args:
        cell: The cell.
        runs: Where the runs of the comparison are.
        command: Runs one command of the command line.
        overrides: Further arguments of ``fit``.
    """
    run = cell.folder(runs)
    config = run.with_name(f"{run.name}.yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(dict(cell.settings), sort_keys=False))
    common = [f"--trainer.default_root_dir={run}", *overrides]
    last = run / "checkpoints" / "last.ckpt"
    resume = [f"--ckpt_path={last}"] if last.is_file() else []
    command(["fit", f"--config={config}", *common, *resume])
    command(["test", f"--config={run / 'config.yaml'}"])
    written = yaml.safe_load((run / "config.yaml").read_text())
    split = written["data"]["init_args"].get("split") or ""
    return rows_of(cell, read_record(run), split)


def start_of(source: Cell | None, runs: Path) -> list[str]:
    """Return the argument that lets a run start from the full table of another cell, where that is trained.

    Args:
        source: The other cell.
        runs: Where the runs of the comparison are.
    """
    checkpoint = source.folder(runs) / FULL_CHECKPOINT if source else None
    return [f"--search.method.pretrain.checkpoint={checkpoint}"] if checkpoint and checkpoint.is_file() else []


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
