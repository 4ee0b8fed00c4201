import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from bet_lightning.cli import main
from bet_lightning.runs.folder import read_record, write_record
from bet_lightning.serving import PackedRecommender, PackedTable
from tests.conftest import SPECTRAL, write_config

CAP = 210 * 8 // 4


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that may be changed."""
    shutil.copytree(finished_run, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace(str(finished_run), str(tmp_path / "run")))
    return tmp_path / "run"


def export(run: Path, *arguments: str) -> None:
    main(["export", "--config", str(run / "config.yaml"), *arguments])


def test_packs_the_best_table(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(run, "--output", str(tmp_path / "table"))
    said = capsys.readouterr().out
    assert f"packed {run / 'checkpoints' / 'bet.ckpt'} into {tmp_path / 'table'}" in said
    assert "the table as csr fp32" in said
    header = PackedTable.load(tmp_path / "table").header
    record = read_record(run)
    bet = record.result("bet")
    assert bet is not None
    assert header["result"] == {"name": "bet", "valid": bet.valid, "test": {}}
    assert header["dataset"]["hash"] == record.dataset["hash"]
    assert header["budget"] == {"params": CAP, "bytes": 4 * CAP + 210, "keep_ratio": 0.25}
    parts = bet.packed["bytes"]
    assert parts["values"] + parts["sizes"] == bet.bytes == 4 * CAP + 210
    assert parts["total"] < (tmp_path / "table" / "table.safetensors").stat().st_size
    assert not (run / "exports").exists()


def test_a_table_is_held_to_what_its_own_form_leaves_of_a_budget(run: Path, tmp_path: Path) -> None:
    record = read_record(run)
    budget, bet = record.budgets[0], record.result("bet")
    assert bet is not None
    # as where the budget covers a deployment and the form that was recorded first has more beside it
    budget = replace(budget, unit="bytes", bytes=bet.bytes - 100, beside=400)
    write_record(run, replace(record, budgets=(budget,)).with_result(replace(bet, beside=300)))
    export(run, "--output", str(tmp_path / "table"))
    assert PackedTable.load(tmp_path / "table").header["budget"]["bytes"] == bet.bytes
    write_record(run, replace(record, budgets=(budget,)).with_result(replace(bet, beside=301)))
    with pytest.raises(SystemExit, match="2"):
        export(run, "--output", str(tmp_path / "other"))


def test_packs_a_checkpoint_in_another_dtype(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "table"
    checkpoint = str(run / "checkpoints" / "uniform.ckpt")
    export(run, "--ckpt_path", checkpoint, "--output", str(output), "--dtype", "int8", "--history", "false")
    table = PackedTable.load(output)
    assert (table.dtype, table.header["result"]["name"]) == ("int8", "uniform")
    assert table.pairs("history") is None and table.sizes.tolist() == [2] * 210
    with pytest.raises(ValueError, match="exported without what users have seen"):
        PackedRecommender.load(output).recommend([0])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["LightGCN", "MF", "NeuMF", "NGCF"])
def test_a_packed_table_is_the_checkpoint(backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, table = tmp_path / "run", tmp_path / "table"
    main(
        [
            "fit",
            "--config",
            str(write_config(tmp_path, "run", backbone, search={"num_iterations": 1}, retrain={"num_actions": 1})),
        ]
    )
    export(run, "--output", str(table))
    config = ["--config", str(run / "config.yaml")]
    found = {}
    for name, path in (("checkpoint", run / "checkpoints" / "best.ckpt"), ("table", table)):
        capsys.readouterr()
        main(["test", *config, "--ckpt_path", str(path)])
        metrics = [line for line in capsys.readouterr().out.splitlines() if "test/" in line]
        main(["predict", *config, "--ckpt_path", str(path), "--predictions.path", str(tmp_path / f"{name}.parquet")])
        found[name] = metrics, pl.read_parquet(tmp_path / f"{name}.parquet")
    assert len(found["table"][0]) == 6 and found["table"][0] == found["checkpoint"][0]
    assert found["table"][1].equals(found["checkpoint"][1])
    lists = found["table"][1].group_by("user", maintain_order=True).agg("item", "score")
    served = PackedRecommender.load(table).recommend(lists["user"].to_numpy(), 20)
    for ids, scores, items, wanted in zip(
        served.ids.tolist(), served.scores.tolist(), lists["item"].to_list(), lists["score"].to_list(), strict=True
    ):
        of_item = dict(zip(items, wanted, strict=True))
        if backbone != "NGCF":  # in which items of nearly the same neighbours have nearly the same scores
            assert ids == items
        assert {*ids[:-1]} <= {*items} and all(
            abs(score - of_item.get(each, wanted[-1])) < 1e-6 for each, score in zip(ids, scores, strict=True)
        )
    assert torch.tensor(served.scores.tolist()).allclose(torch.tensor(lists["score"].to_list()), atol=1e-6)


@pytest.mark.slow
def test_packs_what_it_serves_for_other_budgets(tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "run", family=SPECTRAL))])
    run, output = tmp_path / "run", tmp_path / "tables"
    budgets: list[dict[str, Any]] = [{"keep_ratio": 0.2}, {"bytes": 1500, "dtype": "fp16"}]
    export(run, "--budget", json.dumps(budgets), "--num_probes", "1", "--output", str(output))
    tables = {path.name: PackedTable.load(path) for path in output.iterdir()}
    caps = [budget.params for budget in read_record(run / "exports").budgets]
    assert caps == [336, (1500 - 210) // 2]  # the largest in bytes first: 336 floats and 210 sizes are 1554
    assert {name: table.sizes.sum() for name, table in tables.items()} == {"bet@1500B": caps[1], "bet@0.2": caps[0]}
    assert {table.dtype for table in tables.values()} == {"fp32", "fp16"}
    export(run, "--budget.keep_ratio", "0.3", "--num_probes", "1", "--output", str(tmp_path / "one"))
    assert PackedTable.load(tmp_path / "one").header["budget"]["keep_ratio"] == 0.3


def test_a_search_in_bytes_leaves_a_table_of_so_many(tmp_path: Path) -> None:
    budget = {"bytes": 2_000, "dtype": "int8"}
    main(["fit", "--config", str(write_config(tmp_path, "run", "NeuMF", budget=budget, retrain={"num_actions": 1}))])
    export(tmp_path / "run", "--output", str(tmp_path / "table"))
    result = read_record(tmp_path / "run").results[-1]
    counts = result.packed["bytes"]
    assert result.packed["dtype"] == "int8"
    assert counts["values"] + counts["steps"] + counts["sizes"] == result.bytes
    assert 2_000 - 2 * 4 < result.bytes <= 2_000  # less than a word a table is left


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return line


@pytest.mark.slow
def test_wrong_input_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(run / "config.yaml")]
    taken, table = tmp_path / "taken", str(tmp_path / "table")
    taken.mkdir()
    (taken / "notes.txt").write_text("")
    export(run, "--output", table)
    altered = tmp_path / "altered"
    shutil.copytree(table, altered)
    (altered / "header.json").write_text((altered / "header.json").read_text().replace("bet", "BET"))
    for arguments, message in [
        (["export"], "export needs --output, a folder for a packed table, or --budget"),
        (["export", "--output", str(taken)], f"--output {taken}: holds something else than a packed table"),
        (["export", "--output", table, "--dtype", "fp8"], "fp8"),
        (["export", "--output", table, "--ckpt_path", "no.ckpt"], "--ckpt_path no.ckpt: no such file"),
        (["export", "--output", table, "--ckpt_path", table], f"--ckpt_path {table}: a packed table already"),
        (
            ["export", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"), "--budget.params", "500"],
            "best.ckpt and --budget exclude each other",
        ),
        (["fit", "--ckpt_path", table], f"--ckpt_path {table}: a packed table; fit goes on from a run's last.ckpt"),
        (["test", "--ckpt_path", str(taken)], f"--ckpt_path {taken}: a folder without a packed table"),
        (["test", "--ckpt_path", str(altered)], f"--ckpt_path {altered}: not a sound packed table (header.json was"),
        (["test", "--ckpt_path", table, "--data.seed", "9"], "the checkpoint is of other data or another"),
        (["predict", "--ckpt_path", table, "--model.backbone.max_size", "4"], "another backbone"),
        (["export", "--output", table, "--trainer.default_root_dir", str(taken)], "no finished run here"),
    ]:
        assert message in refused([arguments[0], *config, *arguments[1:]], capsys)


def test_no_results_yet(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(run, replace(read_record(run), results=()))
    config = str(run / "config.yaml")
    assert "no finished run here" in refused(["export", "--config", config, "--output", str(tmp_path / "t")], capsys)


@pytest.mark.slow
def test_export_serves_other_budgets_of_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {
        **{"family": SPECTRAL, "probe": {"epochs": 0}},
        "retrain": {"start": "warm", "num_actions": 1},
    }
    main(["fit", "--config", str(write_config(tmp_path, "run", **settings))])
    config = str(tmp_path / "run" / "config.yaml")
    main(["export", "--config", config, "--budget", '[{"keep_ratio": 0.2}, {"keep_ratio": 0.4}]', "--num_probes", "2"])
    folder = tmp_path / "run" / "exports"
    results = read_record(folder).results
    assert [(result.name, result.params) for result in results] == [("full", 1680), ("bet@0.4", 672), ("bet@0.2", 336)]
    main(["test", "--config", str(folder / "config.yaml")])
    assert all(result.test for result in read_record(folder).results)
    main(["export", "--config", config, "--budget.keep_ratio", "0.5", "--fine_tune", "1"])
    full, bet = read_record(folder).results
    assert (bet.params, bet.epochs, full.epochs) == (840, 1, 0)
    assert (tmp_path / "run" / "exports.1" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "export needs --output, a folder for a packed table, or --budget"),
        (["--budget.keep_ratio", "2"], "budget.keep_ratio must be in (0, 1], got 2"),
        (["--budget.keep_ratio", "0.2", "--fine_tune", "-1"], "export needs fine_tune >= 0"),
        (["--budget.keep_ratio", "0.2"], "last.ckpt: no such file; export needs a finished run"),
    ],
)
def test_export_says_what_is_missing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--config", str(write_config(tmp_path, "run")), *arguments])
    assert message in capsys.readouterr().err


def test_output_replaces_nothing_but_a_packed_table(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, pipe, link = tmp_path / "empty", tmp_path / "pipe", tmp_path / "link"
    empty.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(empty)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (empty, pipe, link, dangling, Path(os.devnull)):
        before = path.lstat()
        line = refused(["export", "--config", str(run / "config.yaml"), "--output", str(path)], capsys)
        assert f"--output {path}: holds something else than a packed table" in line
        assert os.path.samestat(path.lstat(), before)
