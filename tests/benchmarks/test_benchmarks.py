import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bet_lightning import cli
from bet_lightning.runs.folder import read_record
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import (
    basis,
    columns,
    convergence,
    costs,
    device,
    growth,
    large_data,
    measure,
    probes,
    ranks,
    round_trip,
    serving,
    storage,
)
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row, Work, compare, paired, spread_of
from tests.conftest import write_config

DATA_DIR = os.environ.get("BET_DATA_DIR", "")
needs_data = pytest.mark.skipif(
    not (Path(DATA_DIR) / "lastfm").is_dir() or not DATA_DIR, reason="BET_DATA_DIR does not name a folder with lastfm"
)


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    seconds = paired({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3  # a warm-up, then in turns
    assert seconds.keys() == {"a", "b"} and all(len(times) == 2 and min(times) >= 0 for times in seconds.values())


def test_ratios_are_refused_where_the_floor_moved() -> None:
    calm = Row("step", 64, 8, 1, ours_s=2.0, rival="other", rival_s=6.0, floor_s=1.0, peak_memory_mb=0.0, unrest=0.19)
    assert (calm.ratio, calm.floor_ratio, calm.refused) == (3.0, 2.0, False)
    busy = replace(calm, unrest=0.21)
    assert (busy.ratio, busy.floor_ratio, busy.refused) == (None, None, True)
    assert spread_of([1.0, 1.1, 0.9]) == pytest.approx(0.2)


def test_a_short_floor_is_timed_many_times_over(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def floor() -> None:
        nonlocal calls
        calls += 1

    def timed(work: Work) -> float:
        before = calls
        work()
        return 0.001 * max(1, calls - before)  # a millisecond a call

    monkeypatch.setattr(measure, "_time", timed)
    (row,) = compare("short", lambda: None, {}, floor=floor, threads=1, rounds=3)
    assert row.floor_s == pytest.approx(0.001)
    assert calls == 2 + 4 * 50  # two to find out, then 50 ms in each of three rounds and the one that does not count


def test_refused_rows_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, unrest, calls = tmp_path / "rows.json", {"a": 0.0, "b": 0.5}, []

    def benchmark(name: str) -> benchmarks.Benchmark:
        def run(bench: Bench, threads: int) -> list[Row]:
            calls.append(name)
            return [Row(name, 1, 1, threads, 1.0, "other", 2.0, None, 0.0, unrest=unrest[name])]

        return run

    monkeypatch.setattr(benchmarks, "GROUPS", {"steps": {name: benchmark(name) for name in unrest}})
    arguments = ["--threads", "1", "--json", str(path), "--groups", "steps"]
    rows = benchmarks.main(arguments)
    assert [(row.name, row.ratio) for row in rows] == [("a", 2.0), ("b", None)]
    unrest["b"] = 0.1
    rows = benchmarks.main([*arguments, "--again"])
    assert calls == ["a", "b", "b"]
    assert [(row.name, row.ratio) for row in rows] == [("a", 2.0), ("b", 2.0)]
    assert [row["refused"] for row in json.loads(path.read_text())["rows"]] == [False, False]


def test_the_check_of_a_device_runs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = device.main(["--short"])
    assert [row[0] for row in rows] == list(device.CASES)
    assert all(row[1] == "yes" and row[4] in ("no", "") and float(row[2]) > 0 for row in rows)
    assert "a run of BET with LightGCN" in capsys.readouterr().out


@pytest.mark.slow
@needs_data
def test_every_benchmark_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEAST_S", 1e-3)
    path = tmp_path / "rows.json"
    arguments = ["--data", "lastfm", "--data-dir", DATA_DIR, "--threads", "1", "--rounds", "1", "--json", str(path)]
    rows = benchmarks.main(arguments)
    assert {"adjacency", "LightGCN step", "NGCF step", "NeuMF step", "MF epoch"} <= {row.name for row in rows}
    saved = json.loads(path.read_text())["rows"]
    keys = {"name", "d", "batch", "threads", "ours_s", "rival", "rival_s", "ratio", "floor_s", "peak_memory_mb"}
    assert len(saved) == len(rows) and all(keys <= row.keys() and row["ours_s"] > 0 for row in saved)


@needs_data
@pytest.mark.parametrize("family", ["paper", pytest.param("spectral", marks=pytest.mark.slow)])
def test_the_study_of_probes_runs(family: str) -> None:
    epochs = ["--epochs", "1", "--warm-epochs", "1", *(["--softmax", "--warm-only"] if family == "spectral" else [])]
    found = probes.main(
        ["--data-dir", DATA_DIR, "--family", family, "--actions", "3", "--max-size", "16", "--backbone", "MF", *epochs]
    )
    assert len(found) == 4 * 3
    kinds = {"paper": ("scratch", "warm"), "spectral": ("warm",)}[family]
    for each in found.values():
        assert each.keys() == {f"{name}_{kind}" for name in ("rho", "lost") for kind in kinds}
        assert all(-1 <= each[f"rho_{kind}"] <= 1 and each[f"lost_{kind}"] >= 0 for kind in kinds)


@pytest.mark.slow
@needs_data
def test_turning_trained_tables_leaves_their_scores() -> None:
    found = basis.main(["--data-dir", DATA_DIR, "--max-size", "16", "--epochs", "1"])
    assert found.keys() == probes.BACKBONES.keys()
    assert all(difference < 1e-3 for difference in found.values())


@needs_data
def test_the_study_of_convergence_runs() -> None:
    epochs = ["--epochs", "2", "--rival-epochs", "1"]
    found = convergence.main(["--data", "lastfm", "--data-dir", DATA_DIR, "--max-size", "16", *epochs])
    assert 0 < found["ours_epochs"] <= 2 and found["paper_epochs"] == 1
    assert found["ratio"] > 0


@needs_data
@pytest.mark.parametrize("backbone", ["LightGCN", pytest.param("NGCF", marks=pytest.mark.slow)])
def test_the_study_of_storage_runs(backbone: str) -> None:
    arguments = ["--data", "lastfm", "--data-dir", DATA_DIR, "--backbone", backbone, "--max-size", "16"]
    found = storage.main([*arguments, "--epochs", "1", "--steps", "1"])
    assert found["epochs"]["packed"][0] == pytest.approx(found["epochs"]["masked"][0], rel=1e-3)
    masked, packed = found["bytes"]["masked"], found["bytes"]["packed"]
    if backbone == "LightGCN":  # has no parameters beside the table
        assert packed["parameters"] == packed["gradients"] == masked["parameters"] // 10 // 4 * 4
    assert packed["parameters"] < masked["parameters"] and packed["optimizer"] < masked["optimizer"]
    assert 0 < found["memory_ratio"] < 0.5 and found["time_ratio"] > 0


def test_the_study_of_growth_runs() -> None:
    points = growth.main(["--max-gb", "0.15", "--rounds", "1", "--threads", "1"])
    assert len(points) == 1 and points[0]["seconds"] > 0 and points[0]["interactions"] > 150_000


@pytest.mark.slow
def test_the_study_of_large_data_runs() -> None:
    found = large_data.main(
        ["--interactions", "1e4", "--users", "500", "--items", "1e5", "--text", "--split", "temporal"]
    )
    assert 9000 < found["pairs"] <= 10_000 and found["csr_bytes"] == 4 * found["pairs"] + 8 * 501
    with pytest.raises(SystemExit, match="is more than --memory 1MB"):
        large_data.main(["--interactions", "1e4", "--memory", "1MB"])


@pytest.mark.slow
@needs_data
def test_the_study_of_ranks_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "FEW", 1)
    ratio = ranks.main(["--data-dir", DATA_DIR, "--probes", "1", "--seeds", "1", "--epochs", "1", "--ranks", "1"])
    assert ratio == 1.0  # one rank against itself
    measured, summary = capsys.readouterr().out.splitlines()
    assert float(measured.split()[-1]) > 0 and summary.startswith("1 ranks probe 1.00 times as many")


@pytest.mark.slow
def test_the_study_of_columns_runs() -> None:
    one, two = columns.main(["--data", "synthetic", "--max-size", "8", "--batch", "4096", "--steps", "3"])
    assert two.held < 0.51 * one.held
    assert two.losses == pytest.approx(one.losses, rel=1e-5)
    assert two.metrics == pytest.approx(one.metrics, abs=1e-3)


def test_growth_is_fitted() -> None:
    shapes = ((10, 100), (10, 400), (50, 200), (50, 900))
    points = [{"rows": n, "interactions": e, "seconds": 5 + 2.0 * n + 0.5 * e} for n, e in shapes]
    assert growth.fit(points) == pytest.approx((5, 2.0, 0.5))


@pytest.mark.parametrize("propagates", [True, False])
def test_costs_are_fitted(propagates: bool) -> None:
    true = {"step": 0.5, "row": 2e-6 * propagates, "interaction": 1e-7 * propagates, "triplet": 3e-5}
    points = [
        {
            "rows": rows,
            "interactions": interactions,
            "batch_size": size,
            "seconds": true["step"]
            + costs.WIDTH * (true["row"] * rows + true["interaction"] * interactions + true["triplet"] * size),
        }
        for rows, interactions in ((10, 1e3), (1e4, 5e5), (1e5, 1e4))
        for size in (100, 900)
    ]
    assert costs.fit(points, propagates) == pytest.approx(true)


@pytest.mark.slow
def test_the_comparison_of_servings_runs(tmp_path: Path) -> None:
    run, table = tmp_path / "run", tmp_path / "table"
    cli.main(["fit", "--config", str(write_config(tmp_path, "run", search={"num_iterations": 1}))])
    config = ["--config", str(run / "config.yaml")]
    cli.main(["test", *config])
    cli.main(["export", *config, "--output", str(table)])
    cli.main(["predict", *config, "--predictions.path", str(tmp_path / "lists.parquet")])
    rows = serving.main(["--table", str(table), "--rounds", "1", "--threads", "1", "--users-at-once", "50"])
    assert [row["contestant"] for row in rows] == ["packed", "least", "dense", "argpartition", "nothing"]
    assert rows[0]["checksum"] == pytest.approx(rows[2]["checksum"], rel=1e-5)
    assert all(row["peak_mb"] > 0 for row in rows)


@pytest.mark.slow
@needs_data
def test_the_round_trip_is_compared(tmp_path: Path) -> None:
    run, table, lists = tmp_path / "run", tmp_path / "table", tmp_path / "lists.parquet"
    retrain = {"num_actions": 1, "max_epochs": 1}
    config = write_config(
        tmp_path, "run", "MF", search={"num_iterations": 1}, pretrain={"max_epochs": 1}, retrain=retrain
    )
    cli.main(["fit", "--config", str(config), "--data.init_args.name", "lastfm", "--data.init_args.data_dir", DATA_DIR])
    saved = ["--config", str(run / "config.yaml")]
    cli.main(["test", *saved])
    cli.main(["export", *saved, "--output", str(table)])
    cli.main(["predict", *saved, "--predictions.path", str(lists)])
    found = round_trip.main(["--table", str(table), "--data-dir", DATA_DIR, "--lists", str(lists)])
    result = read_record(run).result("bet")
    assert result and result.test
    assert {name: found[name] for name in result.test} == pytest.approx(result.test, abs=1e-4)
    assert found["largest_score_difference"] < 1e-6 and found["lists_that_differ"] <= 2
