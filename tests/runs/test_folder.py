import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bet_lightning.plots import plot_run
from bet_lightning.results import (
    read_popularity,
    read_summary,
    results_table,
    write_json,
    write_popularity,
    write_text,
)
from bet_lightning.search import PopularityProfile


def test_popularity_comes_back_as_it_was_written(tmp_path: Path) -> None:
    users = PopularityProfile.from_frequency(torch.tensor([3, 1, 3, 0]))
    items = PopularityProfile.from_frequency(torch.tensor([5]))
    write_popularity(tmp_path, users, items)
    for wrote, read in zip((users, items), read_popularity(tmp_path), strict=True):
        assert read.frequency.equal(wrote.frequency) and read.starts.equal(wrote.starts)
    (tmp_path / "popularity.json").write_text("{}")
    with pytest.raises(ValueError, match=r"popularity\.json: not the popularity file of a run"):
        read_popularity(tmp_path)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_no_summary_yet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"summary\.json: no finished run here, run `fit` first"):
        read_summary(tmp_path)


def test_table_fits_a_terminal_of_80_columns() -> None:
    metrics = {f"{measure}@{k}": 0.1 for measure in ("recall", "ndcg") for k in (5, 10, 20)}
    row = {"name": "two_numbers", "params": 618_688, "bytes": 2_474_752, "valid": metrics, "test": {}, "seconds": 181.0}
    summary = {
        "dataset": {"name": "ml-1m"},
        "backbone": "LightGCN",
        "d_max": 64,
        "budget": {"params": 61_868, "keep_ratio": 0.1},
        "budgets": [{}],
        "results": [row],
    }
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(summary, "valid"))
    text = console.export_text()
    (line,) = (line.split() for line in text.splitlines() if "two_numbers" in line)
    assert line == ["two_numbers", "618,688", "2.47", "MB", *["0.1000"] * 6, "181"]
    assert results_table(summary, "test").row_count == 0  # not tested yet


def test_plots_of_a_run_without_a_search(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"dataset": {"users": 2}, "budgets": [{}], "results": []})
    assert [path.name for path in plot_run(tmp_path)] == ["sizes.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "summary.json", "{}")
    (tmp_path / "summary.json.partial").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"summary\.json: cannot be written \(\[Errno 28\]"):
        write_text(tmp_path / "summary.json", "{1: 2}")
    assert (tmp_path / "summary.json").read_text() == "{}"
