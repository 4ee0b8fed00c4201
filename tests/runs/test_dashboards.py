"""Runs in Weights & Biases, offline, and read back."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from bet_lightning.cli import main
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.runs.folder import read_probes, read_record
from bet_lightning.runs.records import RunRecord
from bet_lightning.serving import PackedTable
from tests.conftest import TINY, UNIFORM, write_config
from tests.interruption import Interrupted, interrupted_after
from tests.runs.offline_runs import OfflineRun, read_offline_runs

CONFIGS = Path(__file__).parents[2] / "configs"
WANDB = ["--config", str(CONFIGS / "wandb.yaml")]
METRICS = {f"{measure}@{k}" for measure in ("recall", "ndcg") for k in (5, 10, 20)}
RULE = {"class_path": "UniformSizes", "init_args": {"train": {"max_epochs": 1}}}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither a login, nor settings, nor a group of this machine or of another test."""
    with pytest.MonkeyPatch.context() as patched:
        for variable in [name for name in os.environ if name.startswith("WANDB_")]:
            patched.delenv(variable)
        patched.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patched.setenv("WANDB_SILENT", "true")
        wandb.teardown()
        yield
    wandb.teardown()


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder, and a process that has not used Weights & Biases: its service keeps the folder it began in."""
    wandb.teardown()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    wandb.teardown()


@dataclass(frozen=True)
class Search:
    """A search, its test and its export, each a part of one run."""

    folder: Path
    record: RunRecord
    probes: list[ProbeRecord]
    fit: OfflineRun
    test: OfflineRun
    export: OfflineRun


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        main(["fit", "--config", str(write_config(folder, "mine", rules=[UNIFORM])), *WANDB])
        saved = ["--config", "mine/config.yaml"]
        main(["validate", *saved])
        main(["test", *saved])
        main(["predict", *saved, "--predictions.path", "top.csv"])
        main(["export", *saved, "--output", "table"])
    parts = read_offline_runs(folder)
    run = folder / "mine"
    return Search(folder, read_record(run), read_probes(run / "actions.jsonl"), *parts)  # three: the others add nothing


def test_all_commands_go_on_in_one_run(search: Search) -> None:
    parts = (search.fit, search.test, search.export)
    assert {part.id for part in parts} == {(search.folder / "mine" / "wandb.txt").read_text().strip()}
    for part in parts:
        assert part.name == "mine"
        assert part.tags == ["synthetic", "LightGCN", "BET"]
        assert part.exit_code == 0


def test_the_configuration_is_nested_and_there_once(search: Search) -> None:
    config = {name: value for name, value in search.fit.config.items() if name != "_wandb"}
    saved = yaml.safe_load((search.folder / "mine" / "config.yaml").read_text())
    asked = {"seed_everything", "model", "data", "search", "trainer"}
    assert config.keys() == asked | {"dataset", "budgets", "full_table", "versions"}
    assert config["model"] == saved["model"] and config["search"]["method"] == saved["search"]["method"]
    assert config["seed_everything"] == TINY["seed_everything"]
    assert config["dataset"] == search.record.dataset
    assert config["budgets"][0]["params"] == search.record.budgets[0].params
    assert config["full_table"]["bytes"] == 4 * 210 * 8


def test_every_phase_has_its_own_axis(search: Search) -> None:
    axes = search.fit.axes
    drawn = {name: axis for name, axis in axes.items() if axis and name.partition("/")[0] in ("pretrain", "retrain")}
    places = ("pretrain", "retrain/bet", "retrain/bet#2", "retrain/uniform")
    assert drawn == {f"{place}/{name}": f"{place}/epoch" for place in places for name in METRICS}
    assert axes["probe/fitness"] == axes["probe/sizes"] == "probe/iteration"
    assert search.fit.curve("probe/iteration") == [0, 1, 2, 3, 4]
    assert search.fit.curve("probe/fitness") == pytest.approx([probe.fitness for probe in search.probes])
    for place in places:  # trainings that compete for one name have a curve each
        assert search.fit.curve(f"{place}/epoch") == [1, 2]
    better = max(max(search.fit.curve(f"retrain/{name}/ndcg@20")) for name in ("bet", "bet#2"))
    assert better == pytest.approx(search.record.results[1].valid["ndcg@20"])


def test_the_summary_sorts_runs(search: Search) -> None:
    summary, record = search.fit.summary, search.record
    best, full = record.best(), record.full
    assert best and full and best.name == summary["best/name"]
    assert {name: summary[f"best/{name}"] for name in METRICS} == pytest.approx(best.valid)
    assert summary["best/share_of_full"] == pytest.approx(best.quality / full.quality)
    assert (summary["best/bytes"], summary["best/share_of_dense_bytes"]) == (best.bytes, best.bytes / full.bytes)
    assert summary["seconds/total"] > summary["seconds/search"] > 0
    for result in record.results:
        assert summary[f"results/{result.name}/ndcg@20"] == pytest.approx(result.valid["ndcg@20"])
        assert summary[f"results/{result.name}/bytes"] == result.bytes
    last_values = {name for name in summary if name.partition("/")[0] in ("val", "train", "pretrain", "retrain")}
    assert not last_values
    assert {name for name in summary if name.startswith("probe/")} == {"probe/sizes"}  # of no use in sorting
    assert search.fit.curve("best/ndcg@20") == [pytest.approx(best.valid["ndcg@20"])]


def test_test_metrics_are_in_the_summary_and_in_no_row(search: Search) -> None:
    summary = search.test.summary
    for result in search.record.results:
        assert {name: summary[f"results/{result.name}/test/{name}"] for name in METRICS} == pytest.approx(result.test)
    assert not [row for row in search.test.history if any("@" in name for name in row)]
    rows = {row["name"]: row for row in search.test.table("results")}
    assert rows["bet"]["test ndcg@20"] == pytest.approx(search.record.results[1].test["ndcg@20"])


def test_actions_are_a_table_with_their_sizes_and_their_fitness(search: Search) -> None:
    rows = search.fit.table("actions")
    assert [row["fitness"] for row in rows] == pytest.approx([probe.fitness for probe in search.probes])
    for row, probe in zip(rows, search.probes, strict=True):
        assert row["user_sizes"] == probe.action.user_counts.tolist()
        assert row["item_sizes"] == probe.action.item_counts.tolist()
        assert row["params"] == probe.action.params == search.record.budgets[0].params
    filled = [row["actions"]["nrows"] for row in search.fit.history if "actions" in row]
    assert filled == [1, 2, 4, 5]  # as probes end, and at the end
    counts = [probe.action.user_counts + probe.action.item_counts for probe in search.probes]
    assert [sizes["values"] for sizes in search.fit.curve("probe/sizes")] == [each.tolist() for each in counts]


def test_results_pictures_and_artifacts(search: Search) -> None:
    rows = search.fit.table("results")
    assert [row["name"] for row in rows] == [result.name for result in search.record.results]
    assert [row["valid ndcg@20"] for row in rows] == pytest.approx([r.valid["ndcg@20"] for r in search.record.results])
    pictures = {path.stem.split("_")[0] for path in search.fit.folder.rglob("*.png")}
    assert pictures == {path.stem for path in (search.folder / "mine" / "plots").glob("*.png")}
    kind, metadata, files = search.fit.artifacts[f"sizes-{search.fit.id}"]
    assert kind == "sizes" and files == ["bet.txt", "full.txt", "uniform.txt"]
    assert metadata["results"]["bet"]["bytes"] == search.record.results[1].bytes


def test_an_export_is_an_artifact_with_bytes_and_budget(search: Search) -> None:
    best = search.record.best()
    assert best
    kind, metadata, files = search.export.artifacts[f"table-{search.export.id}-{best.name}"]
    header = PackedTable.load(search.folder / "table").header
    assert kind == "model" and set(files) == {path.name for path in (search.folder / "table").iterdir()}
    assert metadata["bytes"] == header["bytes"] and metadata["bytes"]["total"] > 0
    assert metadata["budget"]["params"] == search.record.budgets[0].params
    assert metadata["result"]["name"] == best.name


def test_a_resumed_run_goes_on_in_the_same_dashboard(inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = ["--config", str(write_config(inside, "cut", rules=[UNIFORM])), *WANDB]
    with interrupted_after(8), pytest.raises(Interrupted):  # before the second training of an action
        main(["fit", *config])
    with caplog.at_level(logging.INFO):
        main(["fit", *config, "--ckpt_path", "last"])
    first, second = read_offline_runs(inside)
    assert first.id == second.id and (first.exit_code, second.exit_code) == (1, 0)
    assert f"a further part of run {first.id}, `wandb sync` needs all" in caplog.text
    assert second.tags == first.tags and second.config["dataset"] == first.config["dataset"]
    curves = {name: axis for run in (first, second) for name, axis in run.axes.items() if axis.endswith("/epoch")}
    assert {axis for axis in curves.values()} == {
        f"{place}/epoch" for place in ("pretrain", "retrain/bet", "retrain/bet#2", "retrain/uniform")
    }
    for axis in set(curves.values()):  # nothing twice, nothing left out
        assert first.curve(axis) + second.curve(axis) == [1, 2], axis
    assert len(second.table("actions")) == 5  # the whole search, though its probes are in the first part
    best = read_record(inside / "cut").best()
    assert best and second.summary["best/name"] == best.name


def test_no_name_of_a_budget_is_cut_at_its_dot(inside: Path) -> None:
    config = write_config(inside, "run", method=RULE, budget=["50%", "25%"])
    own = ["--trainer.logger.init_args.name=mine", "--trainer.logger.init_args.group=ours"]
    main(["fit", "--config", str(config), *WANDB, *own])
    (run,) = read_offline_runs(inside)
    assert (run.name, run.group) == ("mine", "ours")  # what a user says stays
    assert run.axes["retrain/uniform@0_25/ndcg@20"] == "retrain/uniform@0_25/epoch"
    assert run.curve("retrain/uniform@0_25/epoch") == [1]
    assert run.summary["best@0_5/name"] == run.summary["best/name"] == "uniform@0.5"
    assert run.summary["best@0_25/params"] == run.summary["results/uniform@0_25/params"] == 420
    logged = {*run.summary, *(name for row in run.history for name in row)}
    assert not [name for name in logged if "." in name or name.startswith("retrain/uniform@0/")]


def test_a_new_run_in_the_same_folder_is_another_one(inside: Path) -> None:
    config = write_config(inside, "run", method=RULE)
    for _ in range(2):
        main(["fit", "--config", str(config), *WANDB])
    first, second = read_offline_runs(inside)
    assert first.id != second.id
    assert [(inside / name / "wandb.txt").read_text().strip() for name in ("run.1", "run")] == [first.id, second.id]


def test_a_run_without_weights_and_biases_stays_without(inside: Path, finished_run: Path) -> None:
    shutil.copytree(finished_run, inside / "run")
    main(["test", "--config", "run/config.yaml", *WANDB, "--trainer.default_root_dir", "run"])
    assert not list(inside.glob("wandb/offline-run-*")) and not (inside / "run" / "wandb.txt").exists()


def test_cells_of_a_comparison_are_a_group(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_GROUP", "")  # to be restored
    monkeypatch.delenv("WANDB_RUN_GROUP")
    base = {**TINY, "search": {"budget": "25%", "method": RULE}}
    Path("table.yaml").write_text(yaml.safe_dump({"base": base, "seeds": [1, 2]}))
    main(["compare", "table.yaml", "--", *WANDB])
    parts = read_offline_runs(inside)
    assert {part.group for part in parts} == {"table"}
    assert len(parts) == 4 and len({part.id for part in parts}) == 2  # fit and test of two cells
    assert {re.sub("-[0-9a-f]+$", "", part.name) for part in parts} == {"seed1", "seed2"}


def agent_command(sweep: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """The command that an agent runs, whose own functions fill it in."""
    values = create_sweep_command_args({"args": {name: {"value": value} for name, value in arguments.items()}})
    filled = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${args}": values["args"]}
    return [word for part in create_sweep_command(sweep["command"]) for word in filled.get(part, [part])]


def test_a_sweep_runs_offline_as_its_agent_would(inside: Path) -> None:
    sweep = yaml.safe_load((CONFIGS / "sweep.yaml").read_text())
    assert sweep["method"] in ("bayes", "grid", "random") and sweep["program"]
    chosen = {
        name: space.get("value", space["values"][-1] if "values" in space else space.get("max"))
        for name, space in sweep["parameters"].items()
    }
    small = {
        **{"data.synthetic_users": 60, "data.synthetic_items": 50, "data.synthetic_interactions": 700},
        **{"search.method.pretrain.max_epochs": 1, "search.method.retrain.max_epochs": 1},
        **{"search.method.search.num_iterations": 1, "search.method.search.num_candidates": 5},
        **{"model.backbone.max_size": 16, "trainer.enable_progress_bar": False},
    }
    shutil.copytree(CONFIGS, inside / "configs", ignore=shutil.ignore_patterns("results"))
    environment = os.environ | {
        **{"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "swp1", "WANDB_RUN_ID": "run1", "OMP_NUM_THREADS": "1"},
        "PYTHONPATH": os.pathsep.join([str(CONFIGS.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = agent_command(sweep, {**chosen, **small})
    assert f"--search.method.retrain.start={chosen['search.method.retrain.start']}" in command
    subprocess.run(command, cwd=inside, env=environment, check=True, capture_output=True, timeout=300)
    folder = inside / "runs" / "sweep-swp1" / "run1"  # each run of a sweep has its own
    (run,) = read_offline_runs(inside)
    best = read_record(folder).best()
    assert run.id == "run1" and best
    assert run.summary[sweep["metric"]["name"]] == pytest.approx(best.valid["ndcg@20"])
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["model"]["init_args"]["l2"] == chosen["model.l2"]


def test_nothing_is_kept_where_weights_and_biases_is_disabled(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    main(["fit", "--config", str(write_config(inside, "run", method=RULE)), *WANDB])
    assert json.loads((inside / "run" / "summary.json").read_text())["results"]
    assert not (inside / "run" / "wandb.txt").exists() and not list(inside.glob("wandb/offline-run-*"))
