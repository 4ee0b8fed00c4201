import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bet_lightning.cli import main
from bet_lightning.compare.rows import read_rows
from tests.conftest import TINY, merge


def write_comparison(folder: Path, seeds: list[int], **base: Any) -> Path:
    path = folder / "table.yaml"
    axes = {"method": {"uniform": {"search": {"method": {"class_path": "UniformSizes"}}}, "bet": None}}
    path.write_text(yaml.safe_dump({"base": merge(TINY, base), "axes": axes, "seeds": seeds}, sort_keys=False))
    return path


@pytest.mark.slow
def test_only_missing_cells_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_comparison(tmp_path, [3])
    command = ["compare", str(path), "--runs", str(tmp_path / "runs")]
    main(command)
    rows = read_rows(tmp_path / "table.csv")
    assert [(row["method"], row["result"], row["seed"]) for row in rows] == [
        ("uniform", "uniform", "3"),
        ("bet", "full", "3"),
        ("bet", "bet", "3"),
    ]
    assert all(float(row["ndcg@20"]) > 0 and row["budget"] in ("", "0.25") for row in rows)
    folders = {each.name for each in (tmp_path / "runs" / "table").iterdir()}
    capsys.readouterr()
    main(command)
    assert "2 cells, 0 of them missing" in capsys.readouterr().out
    write_comparison(tmp_path, [3, 4])
    main([*command, "--list"])
    said = capsys.readouterr().out
    assert "4 cells, 2 of them missing" in said and "bet-seed4" in said and "bet-seed3" not in said
    assert {each.name for each in (tmp_path / "runs" / "table").iterdir()} == folders


@pytest.mark.slow
def test_a_killed_cell_goes_on_where_it_was(tmp_path: Path) -> None:
    longer = {"search": {"method": {"init_args": {"pretrain": {"max_epochs": 30, "patience": 30}}}}}
    path = write_comparison(tmp_path, [3], **longer)
    arguments = [sys.executable, "-m", "bet_lightning", "compare", str(path), "--runs", str(tmp_path / "runs")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/table/bet-*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [row["method"] for row in read_rows(tmp_path / "table.csv")] == ["uniform"]  # written as soon as it was done
    subprocess.run(arguments, env=environment, check=True, stdout=subprocess.DEVNULL)
    killed = read_rows(tmp_path / "table.csv")
    assert not list(tmp_path.glob("runs/table/bet-*.1"))  # gone on with, not begun again
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    main(["compare", str(write_comparison(undisturbed, [3], **longer)), "--runs", str(undisturbed / "runs")])
    untimed = [[{**row, "seconds": ""} for row in rows] for rows in (killed, read_rows(undisturbed / "table.csv"))]
    assert untimed[0] == untimed[1]


@pytest.mark.slow
def test_a_full_table_is_trained_once_for_methods_that_share_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_comparison(tmp_path, [3])
    content = yaml.safe_load(path.read_text())
    content["axes"]["method"] = {"bet": None, "again": {"starts_from": "bet"}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    main(["compare", str(path), "--runs", str(tmp_path / "runs")])
    rows = read_rows(tmp_path / "table.csv")
    epochs = {row["method"]: int(row["epochs"]) for row in rows if row["result"] == "full"}
    assert epochs["bet"] > 0 and epochs["again"] == 0
    metrics = [[row["ndcg@20"] for row in rows if row["method"] == method] for method in ("bet", "again")]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_no_cell_is_begun_after_so_long_and_a_report_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_comparison(tmp_path, [3, 4])
    command = ["compare", str(path), "--runs", str(tmp_path / "runs")]
    main([*command, "--report"])
    assert read_rows(tmp_path / "table.csv") == []
    main([*command, "--max-seconds", "0.5"])
    assert "3 cells are left" in capsys.readouterr().out
    rows = read_rows(tmp_path / "table.csv")
    assert {(row["method"], row["seed"]) for row in rows} == {("uniform", "3")}
    assert (tmp_path / "table.md").read_text().splitlines()[2].startswith("| uniform |")
    assert r"\toprule" in (tmp_path / "table.tex").read_text()
    main([*command, "--max-seconds", "0.5"])
    assert len(read_rows(tmp_path / "table.csv")) > len(rows)


@pytest.mark.slow
def test_a_cell_that_fails_is_named_and_the_others_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_comparison(tmp_path, [3])
    content = yaml.safe_load(path.read_text())
    content["axes"]["method"]["wrong"] = {"search": {"budget": {"keep_ratio": 0.001}}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(SystemExit, match="1"):
        main(["compare", str(path), "--runs", str(tmp_path / "runs")])
    assert "failed: wrong-seed3" in capsys.readouterr().out
    assert {row["method"] for row in read_rows(tmp_path / "table.csv")} == {"uniform", "bet"}


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["compare", str(tmp_path / "none.yaml")], "none.yaml: not a comparison"),
        (["compare", "table.yaml", "--sed", "3"], "compare: unknown arguments --sed 3"),
        (["compare", "table.yaml", "--jobs", "0"], "compare: --jobs must be at least 1, got 0"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_cells_in_parallel_leave_the_same_files(tmp_path: Path) -> None:
    left = []
    for name, more in (("one", []), ("two", ["--jobs", "2"])):
        folder = tmp_path / name
        folder.mkdir()
        main(["compare", str(write_comparison(folder, [3])), "--runs", str(folder / "runs"), *more])
        rows = [{**row, "seconds": ""} for row in read_rows(folder / "table.csv")]
        left.append((rows, [(folder / f"table.{end}").read_text() for end in ("md", "tex", "significance.csv")]))
    assert left[0] == left[1] and len(left[0][0]) == 3
    assert len(list((tmp_path / "two" / "runs" / "table").glob("*.log"))) == 2  # what each cell said
