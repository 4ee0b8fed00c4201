import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from bet_lightning.baselines import read_sizes
from bet_lightning.callbacks import run_results
from bet_lightning.cli import main
from bet_lightning.results import read_records, read_summary
from tests.conftest import write_config

CONFIGS = Path(__file__).parent.parent / "configs"
CAP = 210 * 8 // 4


def comparable(folder: Path) -> list[Any]:
    """What two equal runs share: everything but seconds."""
    records = read_records(folder / "actions.jsonl")
    for timed in (*records, *(found for record in records for found in record.get("tuned", {}).values())):
        del timed["seconds"]
    return [records, [(r["name"], r["params"], r["valid"]) for r in read_summary(folder)["results"]]]


def test_fit_leaves_a_run_folder(finished_run: Path) -> None:
    summary = read_summary(finished_run)
    assert [result["name"] for result in summary["results"]] == ["full", "bet", "uniform"]
    assert summary["budget"]["params"] == CAP
    assert [result["params"] for result in summary["results"]] == [1680, CAP, CAP]
    assert [result["bytes"] for result in summary["results"]] == [1680 * 4, CAP * 4 + 210, CAP * 4 + 210]
    assert summary["dataset"]["users"] == 120
    assert summary["seed"] == 3
    assert summary["search"]["probes"] == 4
    assert all(result["test"] == {} for result in summary["results"])  # fit never touches test data
    assert set(summary["results"][0]["valid"]) == {f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10, 20)}
    assert {path.name for path in (finished_run / "plots").iterdir()} == {"sizes.png", "fitness.png", "predictor.png"}
    assert (finished_run / "config.yaml").is_file()
    assert list((finished_run / "logs").rglob("metrics.csv"))


def test_actions_are_within_budget(finished_run: Path) -> None:
    records = read_records(finished_run / "actions.jsonl")
    assert [record["iteration"] for record in records] == [0, 1, 2, 3]
    sizes = np.arange(1, 9)
    for record in records:
        assert np.dot(sizes, record["user_counts"]) + np.dot(sizes, record["item_counts"]) == record["params"] == CAP
        assert sum(record["user_counts"]) == 120
        assert record["fitness"] > 0
    best = max(record["fitness"] for record in records)
    assert read_summary(finished_run)["search"]["best_fitness"] == best


def test_checkpoints_hold_tensors_and_plain_values(finished_run: Path) -> None:
    names = {path.stem for path in (finished_run / "checkpoints").glob("*.ckpt")}
    assert names == {"full", "best", "uniform", "last"}
    for name in names:
        state = torch.load(finished_run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        sizes = state["state_dict"]["backbone.tables.0.sizes"]
        assert int(sizes.sum()) == (1680 if name == "full" else CAP)
        if name == "best":
            assert sizes.long().equal(read_sizes(str(finished_run / "sizes" / "bet.txt")))


def test_test_validate_predict(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    common = ["--config", str(finished_run / "config.yaml"), "--trainer.default_root_dir", str(folder)]
    valid = [result["valid"] for result in read_summary(folder)["results"]]
    main(["test", *common])
    results = read_summary(folder)["results"]
    assert all(set(result["test"]) == set(result["valid"]) for result in results)
    assert "uniform" in capsys.readouterr().out
    assert [result["valid"] for result in results] == valid
    main(["validate", *common])
    assert f"{valid[1]['ndcg@20']:.4f}" in capsys.readouterr().out  # a loaded checkpoint is the model that was saved
    main(["predict", *common, "--predictions.path", str(folder / "top.parquet")])
    top = pl.read_parquet(folder / "top.parquet")
    assert top.columns == ["user", "rank", "item", "score"]
    assert top["user"].n_unique() == 120
    assert top.group_by("user").len()["len"].max() == 20


def test_runs_are_reproducible_and_resume_anywhere(finished_run: Path, tmp_path: Path) -> None:
    for epochs in (1, 4, 8):  # within pretraining, the search and retraining
        config = write_config(tmp_path, f"cut{epochs}")
        main(["fit", "--config", str(config), "--trainer.max_epochs", str(epochs)])
        last = tmp_path / f"cut{epochs}" / "checkpoints" / "last.ckpt"
        main(["fit", "--config", str(config), "--ckpt_path", str(last)])
        assert comparable(tmp_path / f"cut{epochs}") == comparable(finished_run)


def test_dropout_resumes_too(tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "whole", "NGCF", num_iterations=2, num_retrain=1, rivals=[]))])
    for epochs in (1, 5):  # within pretraining and retraining
        config = write_config(tmp_path, f"cut{epochs}", "NGCF", num_iterations=2, num_retrain=1, rivals=[])
        main(["fit", "--config", str(config), "--trainer.max_epochs", str(epochs)])
        main(["fit", "--config", str(config), "--ckpt_path", "last"])
        weights = [
            torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", f"cut{epochs}")
        ]
        assert all(value.equal(weights[1][name]) for name, value in weights[0].items())


def test_spectral_searches_resume_anywhere(tmp_path: Path) -> None:
    settings = {"family": "spectral", "probe_epochs": 0, "num_tuned": 2, "num_retrain": 1, "retrain_init": "both"}
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])
    for epochs in (1, 2, 3, 5):  # in pretraining, before the first probe, between tuned ones, in retraining
        config = write_config(tmp_path, f"cut{epochs}", **settings)
        main(["fit", "--config", str(config), "--trainer.max_epochs", str(epochs)])
        last = tmp_path / f"cut{epochs}" / "checkpoints" / "last.ckpt"
        main(["fit", "--config", str(config), "--ckpt_path", str(last)])
        assert comparable(tmp_path / f"cut{epochs}") == comparable(tmp_path / "whole")


def test_packed_runs_resume_in_retraining_and_serve_other_budgets(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": "spectral", "probe_epochs": 0, "num_iterations": 2, "num_retrain": 1}
    settings |= {"retrain_init": "both", "max_epochs": 3, "rivals": [], "storage": "packed"}
    whole = tmp_path / "whole"
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])

    def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
        state = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        return {key.removeprefix("backbone.tables.0."): value for key, value in state.items()}

    for epochs in (4, 6):  # within fresh retraining, and before the first epoch of warm retraining
        config, folder = str(write_config(tmp_path, f"cut{epochs}", **settings)), tmp_path / f"cut{epochs}"
        main(["fit", "--config", config, "--trainer.max_epochs", str(epochs)])
        assert weights(folder, "last")["values"].shape == (CAP,)
        last = str(folder / "checkpoints" / "last.ckpt")
        main(["validate", "--config", config, "--ckpt_path", last])
        main(["fit", "--config", config, "--ckpt_path", last])
        assert comparable(folder) == comparable(whole)
        for name in ("full", "best", "bet_fresh", "bet_warm"):
            states = weights(folder, name), weights(whole, name)
            assert all(value.equal(states[1][key]) for key, value in states[0].items())
    weights_after = weights(whole, "best")
    main(["fit", "--config", str(tmp_path / "whole.yaml"), "--ckpt_path", str(whole / "checkpoints" / "last.ckpt")])
    assert weights(whole, "best")["weight"].equal(weights_after["weight"])  # finished: nothing is left to do
    main(["export", "--config", str(whole / "config.yaml"), "--budget.keep_ratio", "0.5", "--fine_tune", "1"])
    full, bet = read_summary(whole / "exports")["results"]
    assert (bet["params"], bet["epochs"], full["epochs"]) == (840, 1, 0)


def test_sigterm_between_untrained_probes_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"family": "spectral", "probe_epochs": 0, "num_retrain": 1, "retrain_init": "warm"}
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])
    config = write_config(tmp_path, "ended", **settings)

    report_probe = run_results.report_probe

    def report_and_end(trainer: Any, summary: Any, plan: Any, phase: str) -> None:
        report_probe(trainer, summary, plan, phase)
        if len(plan.records) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(run_results, "report_probe", report_and_end)
        with pytest.raises(SystemExit, match="143"):
            main(["fit", "--config", str(config)])
    last = tmp_path / "ended" / "checkpoints" / "last.ckpt"
    assert f"--ckpt_path {last}" in capsys.readouterr().out
    (state,) = (s for name, s in torch.load(last, weights_only=True)["callbacks"].items() if "TableSearch" in name)
    assert len(state["plan"]["records"]) == 2
    main(["fit", "--config", str(config), "--ckpt_path", str(last)])
    assert comparable(tmp_path / "ended") == comparable(tmp_path / "whole")


def test_a_run_survives_a_disk_that_is_full_for_logs_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ExperimentWriter, "save", full)
    monkeypatch.setattr(Figure, "savefig", full)
    main(["fit", "--config", str(write_config(tmp_path, "run", num_iterations=1, num_retrain=1))])
    said = capsys.readouterr().out
    assert "metrics.csv: cannot be written ([Errno 28]" in said and "sizes.png: cannot be written" in said
    assert len(read_summary(tmp_path / "run")["results"]) == 3


@pytest.mark.parametrize("backbone", ["MF", "NGCF", "NeuMF"])
def test_every_backbone_searches_its_spectrum(backbone: str, tmp_path: Path) -> None:
    settings = {"family": "spectral", "probe_epochs": 0, "num_retrain": 1, "retrain_init": "warm"}
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, **settings))])
    tables = 2 if backbone == "NeuMF" else 1
    params = {result["name"]: result["params"] for result in read_summary(tmp_path / "run")["results"]}
    assert params == {"full": 1680 * tables, "bet": CAP * tables, "uniform": CAP * tables}


@pytest.mark.parametrize("backbone", ["MF", "NGCF", "NeuMF"])
def test_every_backbone_goes_through_all_phases(backbone: str, tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, num_iterations=1, num_retrain=1))])
    summary = read_summary(tmp_path / "run")
    tables = 2 if backbone == "NeuMF" else 1
    assert summary["d_max"] == 8 * tables
    assert [result["params"] for result in summary["results"]] == [1680 * tables, CAP * tables, CAP * tables]


def test_a_rule_instead_of_a_search(tmp_path: Path) -> None:
    rule = {"class_path": "PopularitySizes", "init_args": {"exponent": 0.5, "user_share": 0.6}}
    main(["fit", "--config", str(write_config(tmp_path, "run", rule=rule))])
    assert [result["name"] for result in read_summary(tmp_path / "run")["results"]] == ["popularity"]
    sizes = str(tmp_path / "run" / "sizes" / "popularity.txt")
    main(
        [
            "fit",
            "--config",
            str(write_config(tmp_path, "again", rule={"class_path": "FileSizes", "init_args": {"path": sizes}})),
        ]
    )
    first, again = (read_summary(tmp_path / name)["results"][0] for name in ("run", "again"))
    assert first["valid"] == again["valid"]  # same sizes, same seed


def test_an_older_run_is_moved_aside(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "run", num_iterations=0))
    main(["fit", "--config", config])
    main(["fit", "--config", config])
    assert (tmp_path / "run.1" / "summary.json").is_file()
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_mistake_leaves_an_older_run_where_it_is(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "run", num_iterations=0))
    main(["fit", "--config", config])
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, "--data.init_args.path=none.csv"])
    assert (tmp_path / "run" / "summary.json").is_file()
    assert not (tmp_path / "run.1").exists()


def test_fitness_predictor_from_actions(finished_run: Path, tmp_path: Path) -> None:
    arguments = [
        "--config",
        str(CONFIGS / "fitness_predictor.yaml"),
        f"--data.init_args.path={finished_run / 'actions.jsonl'}",
        "--trainer.max_epochs=3",
        f"--trainer.default_root_dir={tmp_path / 'predictor'}",
        "--trainer.enable_progress_bar=false",
    ]
    main(["fit", *arguments])
    last = tmp_path / "predictor" / "checkpoints" / "last.ckpt"
    torch.load(last, weights_only=True)
    main(["test", *arguments, "--ckpt_path", str(last)])


@pytest.mark.parametrize(
    "path",
    sorted({*CONFIGS.glob("*.yaml")} - {CONFIGS / name for name in ("fitness_predictor.yaml", "wandb.yaml")}),
    ids=lambda path: path.stem,
)
def test_shipped_configs_start(path: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    tiny = {"name": "synthetic", "split": "ratio", "valid_choice": "random", "synthetic_interactions": 700}
    config["data"]["init_args"].update(tiny, synthetic_users=60, synthetic_items=50)
    config["model"]["init_args"]["backbone"]["init_args"]["max_size"] = 16
    search = config["trainer"]["callbacks"][0]["init_args"]
    search.update(num_iterations=1, probe_epochs=1, num_retrain=1, max_epochs=1, num_candidates=5)
    config["trainer"].update(default_root_dir=str(tmp_path / "run"), enable_progress_bar=False)
    (tmp_path / path.name).write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / path.name)])
    assert len(read_summary(tmp_path / "run")["results"]) >= 3


def test_a_config_without_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, "run")
    config = yaml.safe_load(path.read_text())
    del config["data"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(path)])
    assert "error: data is missing" in capsys.readouterr().err


def test_summary_is_json(finished_run: Path) -> None:
    assert json.loads((finished_run / "summary.json").read_text())["backbone"] == "LightGCN"
