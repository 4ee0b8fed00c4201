import pytest

from tests.drills import kill_resume


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "storage"), [(1, "masked"), (2, "masked"), (1, "packed")])
def test_a_killed_run_ends_like_an_undisturbed_one(
    devices: int, storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_resume.main(["--kills", "1", "--devices", str(devices), "--storage", storage, "--after", "0.7"])
    assert capsys.readouterr().out.strip().endswith("equal")
