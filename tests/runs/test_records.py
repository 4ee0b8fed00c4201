import json
from dataclasses import replace

import pytest

from bet_lightning.budget import Budget
from bet_lightning.methods.tasks import Outcome
from bet_lightning.runs.records import BudgetRecord, ResultRecord, RunRecord, SearchRecord, is_better
from bet_lightning.table_format import TableShape

SHAPE = TableShape(120, 90, 8)


def make_result(name: str, budget: str | None, quality: float) -> ResultRecord:
    valid = {"recall@20": quality, "ndcg@20": quality}
    return ResultRecord(name, budget, 420, 1890, valid, {}, 5, 3, 1.5, 100.0, f"checkpoints/{name}.ckpt")


def make_record(*results: ResultRecord) -> RunRecord:
    budgets = tuple(BudgetRecord.of(Budget(keep_ratio=ratio).resolve(SHAPE)) for ratio in (0.5, 0.25))
    dataset = {"name": "x", "users": 120, "items": 90, "hash": "abc", "interactions": {"train": 5}}
    return RunRecord(dataset, "LightGCN", 8, "BET", budgets, {"torch": "2"}, 3, results, SearchRecord(4, 0.9, 2.0, 0.5))


def test_comes_back_from_json() -> None:
    record = make_record(make_result("full", None, 0.3), make_result("bet@0.25", "0.25", 0.2))
    again = RunRecord.from_dict(json.loads(json.dumps(record.as_dict())))
    assert again == record
    assert (again.budgets[1].params, again.budgets[1].bytes, again.budgets[1].unit) == (420, 1890, "params")


def test_a_value_that_is_missing_or_wrong_is_noticed() -> None:
    values = make_record(make_result("full", None, 0.3)).as_dict()
    with pytest.raises(KeyError):
        RunRecord.from_dict({name: value for name, value in values.items() if name != "budgets"})
    with pytest.raises(TypeError):
        RunRecord.from_dict({**values, "results": [{"name": "full"}]})


def test_the_best_of_a_budget_is_the_best_on_validation_whatever_made_it() -> None:
    full = make_result("full", None, 0.9)
    results = [make_result("bet@0.25", "0.25", 0.2), make_result("uniform@0.25", "0.25", 0.3)]
    record = make_record(full, *results, make_result("bet@0.5", "0.5", 0.25))
    assert record.best("0.25") == results[1]
    best = record.best()
    assert best is not None and best.name == "bet@0.5"
    assert make_record(full).best() == full and make_record().best() is None
    assert record.full == full and record.result("none") is None


def test_a_result_takes_the_place_of_one_of_its_name() -> None:
    record = make_record(make_result("full", None, 0.3)).with_result(make_result("bet@0.25", "0.25", 0.2))
    better = make_result("bet@0.25", "0.25", 0.4)
    assert record.with_result(better).results == (record.results[0], better)
    outcome = Outcome({"recall@20": 0.3})
    assert is_better(outcome, None) and is_better(outcome, make_result("x", None, 0.2))
    assert not is_better(outcome, make_result("x", None, 0.3))
    assert replace(better, valid={}).quality == 0
