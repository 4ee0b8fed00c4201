"""``python -m tests.benchmarks.serving --table TABLE``: lists from a packed table against a dense numpy scorer.

Every contestant recommends to all users of the table, 1,024 a call, in a process of its own, in turns; what it needed
is its process's largest resident memory. The dense scorer has the table with all d_max columns in float32, which for
LightGCN it propagates once with the packed one's graph; masking and top-k are the same for all except
``argpartition``, which is the dense one with numpy's own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bet_lightning.serving import PackedTable
from bet_lightning.serving.recommender import USERS
from tests.benchmarks.serving_contestant import NOTHING


def main(args: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run all contestants in turns, print and return their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving", description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="folder of a packed table of MF or LightGCN")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users-at-once", type=int, default=USERS)
    parser.add_argument("--num-users", type=int, default=sys.maxsize, help="the first so many (default: all)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(args)
    header = PackedTable.load(options.table).header
    name = header["backbone"]["name"]
    contestants = ["packed", *(["least"] if name == "LightGCN" else []), "dense", "argpartition", NOTHING]
    # threads rank blocks of users; a product that wakes further ones would only wait for them
    environment = os.environ | {variable: "1" for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    settings = [options.users_at_once, options.threads, options.num_users]
    runs: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in contestants}
    for _ in range(options.rounds):
        for contestant in contestants:
            command = [sys.executable, "-m", "tests.benchmarks.serving_contestant", contestant, str(options.table)]
            output = subprocess.check_output([*command, *map(str, settings)], env=environment)
            runs[contestant].append(json.loads(output))
    rows = []
    share = header["budget"]["keep_ratio"]
    print(f"{name}, {share:.1%} of the table, {options.users_at_once} users at once, {options.threads} threads")
    for contestant, found in runs.items():
        medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
        rows.append({"backbone": name, "keep_ratio": share, "contestant": contestant, **medians})
        print(f"{contestant}: " + ", ".join(f"{key} {value:.6g}" for key, value in medians.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
