import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bet_lightning.compare.processes import Processes, environment_of
from tests.compare.test_command import write_comparison


def test_processes_share_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert environment_of(1, 3)["OMP_NUM_THREADS"] == "2" and "CUDA_VISIBLE_DEVICES" not in environment_of(1, 3)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [environment_of(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")  # those that were given to this process
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [environment_of(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["5", "3"]
    assert environment_of(0, 2)["OMP_NUM_THREADS"] == "1"


def test_a_command_that_fails_in_its_process_says_where_to_read_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = tmp_path / "cell.log"
    command = Processes().command(said, dict(os.environ))
    with pytest.raises(SystemExit, match="1"):
        command(["compare", str(tmp_path / "none.yaml")])
    assert "none.yaml: not a comparison" in said.read_text()
    assert f"compare ended with 2: see {said}" in caplog.text


def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, [3])
    arguments = [sys.executable, "-m", "bet_lightning", "compare", str(path), "--runs", str(tmp_path / "runs")]
    compare = subprocess.Popen([*arguments, "--jobs", "2"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("runs/table/*.log"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)  # their processes begin right after
    compare.send_signal(signal.SIGTERM)
    compare.communicate(timeout=60)
    assert compare.returncode == 128 + signal.SIGTERM
    commands = [each.read_bytes() for each in Path("/proc").glob("[0-9]*/cmdline") if each.exists()]
    assert not [command for command in commands if os.fsencode(tmp_path) in command]
