import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bet_lightning.cli import main
from bet_lightning.runs.lock import lock_folder
from tests.conftest import write_config


def hold(folder: str, ready: Any) -> None:
    held = lock_folder(Path(folder))
    assert held.is_locked
    ready.set()
    signal.pause()


@pytest.mark.slow
def test_a_folder_has_one_writer_until_that_one_is_gone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(str(tmp_path / "run"), ready))
    other.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match=r"run: another run is writing to this folder"):
        lock_folder(tmp_path / "run")
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    with lock_folder(tmp_path / "run"):
        pass
    lock_folder(tmp_path / "run").release()


def test_a_second_fit_touches_nothing(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, "run")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("of the run that is alive")
    with lock_folder(folder), pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(config)])
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: trainer.default_root_dir {folder}: another run")
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert not (tmp_path / "run.1").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/run: cannot be written"):
        lock_folder(tmp_path / "file" / "run")
