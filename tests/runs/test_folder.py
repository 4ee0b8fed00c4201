from pathlib import Path

import pytest
import torch

from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.runs.folder import (
    link_best,
    read_popularity,
    read_probes,
    read_record,
    write_popularity,
    write_probes,
    write_record,
    write_text,
)
from tests.runs.test_records import make_record, make_result


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


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = make_record(make_result("full", None, 0.3))
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_no_summary_yet(tmp_path: Path) -> None:
    for content in (None, "{", "[]", "{}"):
        if content is not None:
            (tmp_path / "summary.json").write_text(content)
        with pytest.raises(ValueError, match=r"summary\.json: no finished run here, run `fit` first"):
            read_record(tmp_path)


def test_probes_come_back(finished_run: Path, tmp_path: Path) -> None:
    probes = read_probes(finished_run / "actions.jsonl")
    write_probes(tmp_path, probes)
    assert (tmp_path / "actions.jsonl").read_text() == (finished_run / "actions.jsonl").read_text()
    assert [probe.draw.kind for probe in probes] == ["rule", *["popularity"] * 4]


def test_the_best_is_a_link_that_moves(tmp_path: Path) -> None:
    for name in ("bet", "uniform"):
        write_text(tmp_path / "checkpoints" / f"{name}.ckpt", name)
        link_best(tmp_path, f"checkpoints/{name}.ckpt", "best")
        assert (tmp_path / "checkpoints" / "best.ckpt").samefile(tmp_path / "checkpoints" / f"{name}.ckpt")
    write_text(tmp_path / "checkpoints" / "uniform.ckpt", "another")
    assert (tmp_path / "checkpoints" / "best.ckpt").read_text() == "uniform"  # until it is moved again


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "summary.json", "{}")
    (tmp_path / "summary.json.partial").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"summary\.json: cannot be written \(\[Errno 28\]"):
        write_text(tmp_path / "summary.json", "{1: 2}")
    assert (tmp_path / "summary.json").read_text() == "{}"
