"""Methods whose tables are their own go on where they were broken off, in any phase of any budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bet_lightning.cli import main
from bet_lightning.runs.folder import read_record
from bet_lightning.runs.records import ResultRecord
from tests.conftest import write_config
from tests.interruption import Interrupted, interrupted_after

COMPRESSIONS = ["FullAtBits", "MagnitudePruning", "OneBit", "ProductQuantization"]
METHODS: dict[str, Any] = {
    "CIESS": {
        "num_episodes": 1,
        "num_iterations": 2,
        "probe_epochs": 2,
        "num_actions": 1,
        "agent": {"hidden": 8, "batch_size": 64},
        "pretrain": {"max_epochs": 2},
        "train": {"max_epochs": 2},
    },
    "CERP": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 2}},
    "PEP": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 2}},
    "QuotientRemainder": {"train": {"max_epochs": 2}},
    **{name: {"learn": {"max_epochs": 2}, "train": {"max_epochs": 2}} for name in ("AutoEmb", "ESAPN")},
    "OptEmbed": {
        "supernet": {"max_epochs": 2},
        "evolution": {"generations": 2, "num_mutations": 2, "num_crossovers": 2},
        "train": {"max_epochs": 2},
    },
    **{name: {"pretrain": {"max_epochs": 2}, "train": {"max_epochs": 2}} for name in COMPRESSIONS},
}


def run(folder: Path, name: str, method: str, after: int = 0) -> list[ResultRecord]:
    """Fit tables for two budgets, broken off after some epochs and resumed, and return what does not depend on time."""
    settings = {"class_path": method, "init_args": METHODS[method]}
    budgets = ["2500B", "1300B"] if method in COMPRESSIONS else ["50%", "40%"]
    config = str(write_config(folder, name, budget=budgets, method=settings))
    resume: list[str] = []
    if after:
        with interrupted_after(after), pytest.raises(Interrupted):
            main(["fit", "--config", config])
        resume = ["--ckpt_path", "last"]
    main(["fit", "--config", config, *resume])
    return [replace(result, seconds=0.0, peak_memory_mb=None) for result in read_record(folder / name).results]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "cuts"),
    [
        ("CIESS", [1, 3, 5, 7, 9, 13]),
        ("CERP", [1, 2, 3, 5, 7]),
        ("PEP", [1, 2, 3, 5, 7]),
        ("QuotientRemainder", [1, 2, 3]),
        *((name, [1, 2, 3, 5]) for name in ("AutoEmb", "ESAPN", "OptEmbed")),
        *((name, [1, 2, 3, 5]) for name in COMPRESSIONS),
    ],
)
def test_goes_on_where_it_was_broken_off(method: str, cuts: list[int], tmp_path: Path) -> None:
    if method == "ProductQuantization":
        pytest.importorskip("faiss")
    whole = run(tmp_path, "whole", method)
    assert len(whole) == (3 if method in (*COMPRESSIONS, "CIESS") else 2)  # with the full table
    for after in cuts:
        assert run(tmp_path, f"cut{after}", method, after) == whole
