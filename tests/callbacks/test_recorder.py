from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from bet_lightning.budget import Budget
from bet_lightning.methods import UniformSizes
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.rules import read_sizes
from bet_lightning.methods.tasks import FULL, Epochs, Outcome, Round, Task
from bet_lightning.runs.folder import read_popularity, read_record
from bet_lightning.tables.soft_threshold import PrunedTable
from tests.callbacks.conftest import BUDGET, Scripted, fit, make_data

HALF = Budget(keep_ratio=0.5)


def pretrain(problem: Problem, _: Sequence[Outcome]) -> Round:
    """The full table."""
    return Round([problem.full_task(Epochs(2))], shared=True)


def warm(problem: Problem, outcomes: Sequence[Outcome]) -> Round:
    """The same sizes for all, cut out of the full table."""
    budget = problem.budgets[-1]
    sizes = UniformSizes().allocate(problem, budget)
    name = f"warm{problem.suffix(budget)}"
    return Round([Task("retrain", "warm", Epochs(2), name, budget, sizes, weights=outcomes[0].weights)])


def pruned(problem: Problem, _: Sequence[Outcome]) -> Round:
    """A table with a mask that is no prefix of rows."""
    mask = torch.zeros(140, 8, dtype=torch.bool)
    mask[:, 5] = True
    return Round(
        [Task("retrain", "pruned", Epochs(1), "pruned", problem.budgets[0], tables=[PrunedTable(140, 8, mask)])]
    )


def checkpoints(folder: Path) -> set[str]:
    """Names of the checkpoints of a run."""
    return {path.stem for path in (folder / "checkpoints").iterdir()}


def test_a_run_leaves_a_record_sizes_and_checkpoints_of_its_results(tmp_path: Path) -> None:
    data, method = make_data(), Scripted(pretrain, warm, pruned)
    search = fit(tmp_path, method, data=data)
    record = read_record(tmp_path)
    assert record == search.record
    assert record.dataset == json.loads(json.dumps(data.dataset.statistics()))
    assert (record.backbone, record.d_max, record.method, record.seed) == ("LightGCN", 8, "Scripted", 3)
    assert [(budget.name, budget.params, budget.keep_ratio) for budget in record.budgets] == [("0.25", 280, 0.25)]
    assert [result.name for result in record.results] == [FULL, "warm", "pruned"]
    for result, outcome in zip(record.results, method.outcomes, strict=True):
        assert (result.valid, result.epochs, result.best_epoch) == (
            outcome.metrics,
            outcome.epochs,
            outcome.best_epoch,
        )
        assert result.test == {} and result.seconds > 0 and result.peak_memory_mb > 0
        assert (tmp_path / result.checkpoint).is_file()
    full, cut, masked = record.results
    assert (full.budget, full.params, full.bytes) == (None, 1120, 4480)
    assert (cut.budget, cut.params, cut.bytes) == ("0.25", 280, 4 * 280)  # all of one size, which takes no byte
    assert (masked.budget, masked.params, masked.bytes) == ("0.25", 140, 4 * 140 + 140)  # a bit an entry for the mask
    assert read_sizes(str(tmp_path / "sizes" / "warm.txt")).tolist() == [2] * 140
    assert {path.stem for path in (tmp_path / "sizes").iterdir()} == {FULL, "warm"}
    assert checkpoints(tmp_path) == {FULL, "warm", "pruned", "best", "last"}
    users, items = read_popularity(tmp_path)
    assert (users.num_rows, items.num_rows) == (80, 60)


def test_best_is_the_best_within_its_budget_whatever_made_it(tmp_path: Path) -> None:
    search = fit(tmp_path, Scripted(pretrain, warm, pruned))
    assert search.record
    best = search.record.best()
    assert best
    within = search.record.results[1:]
    assert best.quality == max(result.quality for result in within)
    linked, own = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (
            tmp_path / "checkpoints" / "best.ckpt",
            tmp_path / best.checkpoint,
        )
    )
    assert linked.keys() == own.keys() and all(linked[name].equal(own[name]) for name in own)


def test_with_several_budgets_each_has_a_best_of_its_own(tmp_path: Path) -> None:
    search = fit(tmp_path, UniformSizes(train=Epochs(1)), budget=[BUDGET, HALF])
    assert search.record
    assert [(result.name, result.budget, result.params) for result in search.record.results] == [
        ("uniform@0.5", "0.5", 560),
        ("uniform@0.25", "0.25", 280),
    ]
    assert checkpoints(tmp_path) == {"uniform@0.25", "uniform@0.5", "best@0.25", "best@0.5", "last"}


def test_bytes_are_of_the_dtype_of_the_budget(tmp_path: Path) -> None:
    search = fit(tmp_path, UniformSizes(train=Epochs(1)), budget=Budget(bytes=702, dtype="fp16"))
    assert search.record
    (result,) = search.record.results
    assert (result.params, result.bytes) == (281, 2 * 281 + 140)  # 702 bytes hold 281 values of two and 140 sizes


def test_trainings_are_logged_by_their_own_epochs(tmp_path: Path) -> None:
    method = Scripted(pretrain, warm)
    fit(tmp_path, method, logger=CSVLogger(str(tmp_path), name="logs", flush_logs_every_n_steps=1))
    (logged,) = (tmp_path / "logs").rglob("metrics.csv")
    frame = pl.read_csv(logged, infer_schema_length=None)
    assert frame["pretrain/epoch"].drop_nulls().to_list() == [1, 2]
    assert frame["retrain/warm/epoch"].drop_nulls().to_list() == [0, 1, 2]  # the cut table before it is trained, too
    best = frame["retrain/warm/ndcg@20"].drop_nulls().to_list()[method.outcomes[1].best_epoch]
    assert best == pytest.approx(method.outcomes[1].metrics["ndcg@20"], rel=1e-6)
    assert frame["train/loss"].drop_nulls().len() == 4


def test_what_a_training_reached_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="bet_lightning"):
        fit(tmp_path, Scripted(pretrain))
    said = [record.getMessage() for record in caplog.records if "best at epoch" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("pretrain: best at epoch")
    assert any(f"test metrics: python -m bet_lightning test --config {tmp_path}" in each for each in caplog.messages)
    assert any("a full table of" in each for each in caplog.messages)


def test_a_result_of_another_run_is_not_overwritten_by_a_worse_one(tmp_path: Path) -> None:
    def untrained(problem: Problem, _: Sequence[Outcome]) -> Round:
        budget = problem.budgets[0]
        return Round([Task("retrain", "worse", Epochs(0), "mine", budget, UniformSizes().allocate(problem, budget))])

    def trained(problem: Problem, _: Sequence[Outcome]) -> Round:
        budget = problem.budgets[0]
        return Round([Task("retrain", "mine", Epochs(2), "mine", budget, UniformSizes().allocate(problem, budget))])

    method: Method = Scripted(trained, untrained)
    search = fit(tmp_path, method)
    assert search.record
    (result,) = search.record.results
    assert result.epochs == 2 and not math.isclose(result.quality, 0.0)


def test_without_a_result_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(problem: Problem, _: Sequence[Outcome]) -> Round:
        return Round([Task("probe", "probe", Epochs(1))])

    search: Any = fit(tmp_path, Scripted(measure))
    assert search.record.results == () and "metrics" not in capsys.readouterr().out
    assert checkpoints(tmp_path) == {"last"}
