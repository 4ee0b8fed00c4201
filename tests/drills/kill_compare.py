"""``python -m tests.drills.kill_compare --kills 5``: kill a comparison at random moments, and run it again each time.

A small comparison goes through undisturbed. Then another is killed (SIGKILL, the whole process group) again and again,
at random moments or in the middle of every cell, and at last left alone. No file of a cell that was done may have been
touched since, and the CSV must hold the undisturbed one's rows (except seconds), as must the tables.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bet_lightning.compare.cells import Comparison
from bet_lightning.compare.rows import is_done, read_rows
from tests.conftest import TINY, UNIFORM, merge

SETTINGS: dict[str, Any] = {
    "base": merge(TINY, {"search": {"budget": ["50%", "25%"]}}),
    "axes": {"method": {"uniform": {"search": {"method": UNIFORM}}, "bet": {}, "again": {"starts_from": "bet"}}},
    "seeds": [3],
}
TABLES = ("table.md", "table.tex", "table.significance.csv")


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Begin the comparison in a folder, or go on with it, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
    program = [sys.executable, "-m", "bet_lightning", "compare", str(path), "--runs", str(folder / "runs")]
    with (folder / "said.log").open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(program, stdout=log, stderr=log, env=environment, start_new_session=True)


def finish(folder: Path) -> None:
    """Go on with the comparison to its end.

    Raises:
        RuntimeError: If it fails.
    """
    if code := start(folder).wait():
        raise RuntimeError(f"compare ended with {code}\n{(folder / 'said.log').read_text()[-3000:]}")


def files_of_done(folder: Path) -> dict[str, dict[Path, int]]:
    """The files of the cells that are in the CSV, by the cells' names, with the times when they were written."""
    rows = read_rows(folder / "table.csv")
    cells = [cell for cell in Comparison.read(folder / "table.yaml").cells if is_done(cell, rows)]
    folders = {cell.name: cell.folder(folder / "runs" / "table") for cell in cells}
    return {
        name: {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
        for name, run in folders.items()
    }


def wait_for_cell(process: subprocess.Popen[bytes], folder: Path, number: int) -> None:
    """Wait until a comparison is in the middle of a cell: it has a checkpoint to go on from, and is not done.

    Raises:
        RuntimeError: If the comparison ends before.
    """
    cell = Comparison.read(folder / "table.yaml").cells[number]
    while not (cell.folder(folder / "runs" / "table") / "checkpoints" / "last.ckpt").exists():
        if process.poll() is not None:
            raise RuntimeError(f"{cell.name}: compare ended with {process.returncode} before it")
        time.sleep(0.02)


def remains(folder: Path) -> dict[str, Any]:
    """What a finished comparison left, without what differs from run to run."""
    rows = [{**row, "seconds": ""} for row in read_rows(folder / "table.csv")]
    return {"rows": rows, **{name: (folder / name).read_text() for name in TABLES}}


def main(args: Sequence[str] | None = None) -> None:
    """Run the drill.

    Raises:
        RuntimeError: If the comparison fails, runs a cell again, or ends otherwise than an undisturbed one.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.drills.kill_compare", description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--every-cell", action="store_true", help="kill once in every cell, instead of random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(args)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        undisturbed, killed = Path(temporary, "undisturbed"), Path(temporary, "killed")
        began = time.monotonic()
        finish(undisturbed)
        length = time.monotonic() - began
        print(f"undisturbed: {length:.1f} s, {len(files_of_done(undisturbed))} cells", flush=True)
        done: dict[str, dict[Path, int]] = {}
        for kill in range(len(files_of_done(undisturbed)) if options.every_cell else options.kills):
            process = start(killed)
            if options.every_cell:
                wait_for_cell(process, killed, kill)
            else:
                time.sleep(length * chance.random())
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            now = files_of_done(killed)
            print(f"killed: {len(now)} cells done", flush=True)
            check_untouched(done, now)
            done = now
        finish(killed)
        check_untouched(done, files_of_done(killed))
        expected, found = remains(undisturbed), remains(killed)
        differing = [part for part, value in expected.items() if found[part] != value]
        print(f"at the end: {differing or 'equal'}", flush=True)
        if differing:
            raise RuntimeError(f"{', '.join(differing)} differ")


def check_untouched(before: dict[str, dict[Path, int]], now: dict[str, dict[Path, int]]) -> None:
    """Check that cells that were done still are, and that none of their files was written again.

    Raises:
        RuntimeError: If one was.
    """
    for name, files in before.items():
        if now.get(name) != files:
            raise RuntimeError(f"cell {name} was done and was lost or run again")


if __name__ == "__main__":
    main()
