"""``python -m tests.benchmarks.large_data``: what it takes to read and split interactions that are larger than memory.

Writes synthetic interactions as Parquet files, piece by piece, into a temporary folder. A fresh process reads them as
``--data.path FOLDER`` does, and reports the seconds and the peak of its resident memory after each stage.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from bet_lightning.budget import parse_bytes
from bet_lightning.data import Csr, SplitName, encode_interactions, read_interactions, split_interactions
from bet_lightning.data.splits import TIMED

FILE_ROWS = 1 << 21
EXPONENT = 3  # of the uniform number that an item is drawn from: the larger, the more popular are the popular


def write(folder: Path, interactions: int, users: int, items: int, *, text: bool) -> None:
    """Write interactions, of popular items more, as Parquet files of ``FILE_ROWS`` rows."""
    for part, start in enumerate(range(0, interactions, FILE_ROWS)):
        generator = np.random.default_rng([part, interactions])
        count = min(FILE_ROWS, interactions - start)
        rows = pl.DataFrame(
            {
                "user_id": generator.integers(users, size=count),
                "item_id": (generator.random(count) ** EXPONENT * items).astype(np.int64),
                "timestamp": generator.integers(1 << 30, size=count),
            }
        )
        if text:
            rows = rows.with_columns(pl.format("user-{}", "user_id"), pl.format("item-{}", "item_id"))
        rows.write_parquet(folder / f"part-{part:05}.parquet")


def bytes_of(csr: Csr) -> int:
    """Bytes of a matrix."""
    return csr.indptr.nbytes + csr.columns.nbytes


def measure(path: Path, split: SplitName) -> dict[str, Any]:
    """Read and split, and return the seconds and the peak bytes after each stage, and the bytes of the matrix."""
    stages: dict[str, tuple[float, int]] = {"start": (0.0, peak_bytes())}
    begin = time.perf_counter()

    def ended(stage: str) -> None:
        nonlocal begin
        now = time.perf_counter()
        stages[stage] = (now - begin, peak_bytes())
        begin = now

    table = read_interactions(path, timed=split in TIMED)
    ended("open")
    (data,) = encode_interactions([table])
    ended("encode")
    parts = split_interactions(data, split, name="large")
    ended("split")
    parts.hash  # noqa: B018  (computed here)
    ended("hash")
    return {"stages": stages, "csr_bytes": bytes_of(data.pairs), "pairs": data.pairs.nnz, "hash": parts.hash}


def peak_bytes() -> int:
    """The most resident memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Write, read in a fresh process, and print what it took.

    Raises:
        SystemExit: If the peak is larger than ``--memory``.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large_data", description=__doc__)
    parser.add_argument("--interactions", type=float, default=2e6)
    parser.add_argument("--users", type=float, help="default: one for 20 interactions")
    parser.add_argument("--items", type=float, help="default: one for 100 interactions")
    parser.add_argument("--text", action="store_true", help="ids that are no integers")
    parser.add_argument("--split", default="ratio", choices=get_args(SplitName))
    parser.add_argument("--memory", default="20GB", help="what must be enough")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # the fresh process
    options = parser.parse_args(args)
    if options.read:
        found = measure(options.read, options.split)
        print(json.dumps(found))
        return found
    interactions = int(options.interactions)
    users, items = int(options.users or interactions / 20), int(options.items or interactions / 100)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        write(Path(folder), interactions, users, items, text=options.text)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        print(f"{interactions:,} interactions in {size / 1e9:.2f} GB, {time.perf_counter() - begin:.1f} s", flush=True)
        command = [sys.executable, "-m", "tests.benchmarks.large_data", "--read", folder, "--split", options.split]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    for stage, (seconds, peak) in found["stages"].items():
        print(f"{stage:>7}: {seconds:7.1f} s, peak so far {peak / 1e6:8,.0f} MB")
    start, peak = found["stages"]["start"][1], found["stages"]["hash"][1]
    own = found["csr_bytes"]
    print(
        f"{found['pairs']:,} pairs, matrix {own / 1e6:,.0f} MB; beyond the start the peak is "
        f"{(peak - start) / 1e6:,.0f} MB, {(peak - start) / own:.1f} times the matrix"
    )
    if peak > parse_bytes(options.memory):
        raise SystemExit(f"the peak of {peak / 1e9:.1f} GB is more than --memory {options.memory}")
    return found


if __name__ == "__main__":
    main()
