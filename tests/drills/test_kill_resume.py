import pytest

from tests.drills import kill_resume


@pytest.mark.parametrize("devices", [1, 2])
def test_a_killed_run_ends_like_an_undisturbed_one(devices: int, capsys: pytest.CaptureFixture[str]) -> None:
    kill_resume.main(["--kills", "1", "--devices", str(devices), "--after", "0.7"])
    assert capsys.readouterr().out.strip().endswith("equal")
