from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bet_lightning.compare.entries import METRICS, Entry, entries_of
from bet_lightning.compare.rows import Row
from bet_lightning.compare.significance import Pair, UserTables, compare_entries, read_pairs, write_pairs
from bet_lightning.compare.statistics import compare_users

AXES = ("data", "method")
USERS = np.arange(0, 300, 2)


def reached(method: str, seed: int) -> pl.DataFrame:
    """What users reach: the same with ``equal`` as with ``best``, less with ``worse``, in no order."""
    rng = np.random.default_rng(seed)
    shift = {"best": 0.2, "equal": 0.2, "worse": 0.1}[method]
    values = rng.random((len(USERS), 2)) + shift
    values += 0.01 * np.random.default_rng(seed + 10 * ord(method[0])).standard_normal(values.shape)
    table = pl.DataFrame({"user": USERS, **{name: values[:, n] for n, name in enumerate(METRICS)}})
    return table.sample(fraction=1.0, shuffle=True, seed=seed)


def row(method: str, seed: int, budget: str = "10%") -> Row:
    metrics = {name: f"{reached(method, seed)[name].mean():.6f}" for name in METRICS}
    named = {"data": "small", "method": method, "result": "bet", "start": "", "budget": budget, "seed": str(seed)}
    return {**named, **metrics, "data_hash": "abc"}


ROWS = [row(method, seed) for method in ("worse", "best", "equal") for seed in (0, 1)] + [row("best", 0, "5%")]
ENTRIES = entries_of(ROWS, AXES)


def keeping(*methods: str) -> UserTables:
    """Users' metrics of these methods alone."""
    return lambda row: reached(row["method"], int(row["seed"])) if row["method"] in methods else None


def mean_over_seeds(method: str, metric: str) -> np.ndarray:
    return np.mean([reached(method, seed).sort("user")[metric].to_numpy() for seed in (0, 1)], axis=0)


def test_the_best_of_a_budget_is_compared_with_each_rival_over_users() -> None:
    pairs = compare_entries(ENTRIES, keeping("best", "equal", "worse"), [])
    assert {pair.budget for pair in pairs} == {"10%"}  # alone at 5 %, there is nothing to compare with
    assert [pair.metric for pair in pairs] == ["recall@20"] * 2 + ["ndcg@20"] * 2
    for pair in pairs:
        means = {method: float(mean_over_seeds(method, pair.metric).mean()) for method in ("best", "equal", "worse")}
        assert pair.best == max(means, key=means.__getitem__)
        assert pair.difference == pytest.approx(means[pair.best] - means[pair.rival]) and pair.users == 150
        expected = compare_users(
            mean_over_seeds(pair.best, pair.metric), mean_over_seeds(pair.rival, pair.metric)[:, None]
        )
        assert (pair.t_p, pair.wilcoxon_p) == pytest.approx((expected.t[0], expected.wilcoxon[0]), rel=1e-3)
        assert pair.differs == (pair.rival == "worse")
    for metric in METRICS:
        first, second = sorted((pair.t_p, pair.t_holm) for pair in pairs if pair.metric == metric)
        assert first[1] == pytest.approx(min(1, 2 * first[0])) and second[1] == max(first[1], second[0])


def test_what_cannot_be_paired_is_not_compared() -> None:
    found = compare_entries(ENTRIES, keeping("best", "equal"), [])
    assert found and "worse" not in {pair.rival for pair in found}
    assert found == [replace(pair, t_holm=pair.t_p, wilcoxon_holm=pair.wilcoxon_p) for pair in found]  # of one test
    assert compare_entries(ENTRIES, keeping("worse"), []) == []

    def others(row: Row) -> pl.DataFrame:
        table = reached(row["method"], int(row["seed"]))
        return table.with_columns(pl.col("user") + 1) if row["method"] == "worse" else table

    assert "worse" not in {pair.rival for pair in compare_entries(ENTRIES, others, [])}
    hashed = [Entry(*entry[:3], tuple({**row, "data_hash": entry.method} for row in entry.rows)) for entry in ENTRIES]
    assert compare_entries(hashed, keeping("best", "equal", "worse"), []) == []


def test_pairs_outlive_the_runs_as_long_as_the_results_are_the_same(tmp_path: Path) -> None:
    pairs = compare_entries(ENTRIES, keeping("best", "equal", "worse"), [])
    path = tmp_path / "table.significance.csv"
    assert write_pairs(path, AXES, pairs)
    known = read_pairs(path, AXES)
    again = compare_entries(ENTRIES, keeping(), known)
    assert [(pair.rival, pair.t_p, pair.t_holm) for pair in again] == [
        (pair.rival, pair.t_p, pair.t_holm) for pair in pairs
    ]
    write_pairs(path, AXES, again)
    assert read_pairs(path, AXES) == known  # written again, it is the same
    changed = [{**row, "recall@20": "0.500000"} if row["method"] == "worse" else row for row in ROWS]
    left = compare_entries(entries_of(changed, AXES), keeping(), known)
    kept = [(pair.rival, pair.metric) for pair in again if (pair.rival, pair.metric) != ("worse", "recall@20")]
    assert [(pair.rival, pair.metric) for pair in left] == kept
    assert not write_pairs(path, AXES, []) and not path.exists() and read_pairs(path, AXES) == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("data,method\nsmall,bet\n")
    with pytest.raises(ValueError, match=r"table\.csv: not a CSV file of compared methods"):
        read_pairs(path, AXES)


def test_a_rival_differs_below_five_percent() -> None:
    pair = Pair(("small",), "10%", "ndcg@20", "a", "b", 9, 0.1, 0.0, 0.2, 0.01, 0.01, 0.049)
    assert pair.differs and not replace(pair, t_holm=0.05).differs
