import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bet_lightning.methods.base import Problem
from bet_lightning.methods.tasks import FULL, Epochs, Outcome, Round, Task
from bet_lightning.runs.curves import CURVES, CurvePoint, append_point, read_points
from tests.callbacks.conftest import Interrupt, Scripted, fit

POINT = CurvePoint("a", "retrain", "bet", 1, {"recall@20": 0.1})


def test_points_come_back_and_a_repeated_epoch_counts_once(tmp_path: Path) -> None:
    points = [replace(POINT, epoch=epoch) for epoch in (0, 1, 2)] + [replace(POINT, training="b", epoch=1)]
    for point in (*points, replace(POINT, epoch=1, metrics={"recall@20": 0.2})):
        append_point(tmp_path, point)
    found = read_points(tmp_path)
    assert [(point.training, point.epoch) for point in found] == [("a", 0), ("a", 1), ("a", 2), ("b", 1)]
    assert found[1].metrics == {"recall@20": 0.2} and found[3] == points[3]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    assert read_points(tmp_path) == []
    line = json.dumps(asdict(POINT))
    (tmp_path / CURVES).write_text(f"{line}\n{line[:30]}")
    assert read_points(tmp_path) == [POINT]


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / CURVES).mkdir()
    append_point(tmp_path, POINT)
    assert "curves.jsonl: cannot be written" in caplog.text


def pretrain(problem: Problem, _: Sequence[Outcome]) -> Round:
    return Round([problem.full_task(Epochs(4))], shared=True)


def probe(problem: Problem, _: Sequence[Outcome]) -> Round:
    return Round([Task("probe", "probe", Epochs(1))])


def again(problem: Problem, _: Sequence[Outcome]) -> Round:
    return Round([Task("retrain", "again", Epochs(2), FULL)], shared=True)


def test_a_run_that_goes_on_has_the_curves_of_one_that_nothing_interrupts(tmp_path: Path) -> None:
    fit(tmp_path / "whole", Scripted(pretrain, probe, again))
    expected = read_points(tmp_path / "whole")
    assert [(point.phase, point.epoch) for point in expected] == [
        *(("pretrain", epoch) for epoch in (1, 2, 3, 4)),
        *(("retrain", epoch) for epoch in (1, 2)),
    ]  # a probe competes for no result
    method = Scripted(pretrain, probe, again)
    with pytest.raises(InterruptedError):
        fit(tmp_path / "broken", method, Interrupt(2))
    append_point(tmp_path / "broken", replace(expected[2], metrics={}))  # of an epoch that the checkpoint does not have
    fit(tmp_path / "broken", Scripted(pretrain, probe, again), resume=True)
    assert read_points(tmp_path / "broken") == expected
    fit(tmp_path / "whole", Scripted(again))
    assert [point.phase for point in read_points(tmp_path / "whole")] == ["retrain"] * 2  # a new run begins its own
