from pathlib import Path

import pytest

from tests.drills import kill_compare


@pytest.mark.slow
def test_a_killed_comparison_ends_like_an_undisturbed_one(capsys: pytest.CaptureFixture[str]) -> None:
    kill_compare.main(["--every-cell"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("3 cells")
    assert said[1:] == [*(f"killed: {done} cells done" for done in range(3)), "at the end: equal"]


def test_a_cell_that_is_run_again_or_lost_is_noticed() -> None:
    done = {"bet-seed3": {Path("summary.json"): 1}}
    kill_compare.check_untouched(done, {**done, "again-seed3": {}})
    for now in ({}, {"bet-seed3": {Path("summary.json"): 2}}):
        with pytest.raises(RuntimeError, match="cell bet-seed3 was done and was lost or run again"):
            kill_compare.check_untouched(done, now)
