from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger

from bet_lightning.callbacks.run_files import RunLogger, move_aside
from bet_lightning.cli import main
from bet_lightning.methods.tasks import Epochs, Round
from tests.callbacks.conftest import Interrupt, Scripted, fit
from tests.conftest import UNIFORM, write_config


def test_a_new_run_never_overwrites_an_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    move_aside(folder)  # nothing is there
    for number in range(3):
        folder.mkdir()
        (folder / "config.yaml").write_text(str(number))
        move_aside(folder)
        assert not folder.exists()
    assert [(tmp_path / f"run.{number}" / "config.yaml").read_text() for number in (1, 2, 3)] == ["0", "1", "2"]


def test_a_folder_without_a_run_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    move_aside(tmp_path / "run")
    assert (tmp_path / "run").is_dir()


def test_the_run_goes_on_where_metrics_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = RunLogger(str(tmp_path), name="logs")
    logger.log_metrics({"loss": 1.0}, step=0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(CSVLogger, "save", full)
        logger.save()
    assert "metrics.csv: cannot be written ([Errno 28] No space left on device)" in caplog.text
    logger.save()
    assert (Path(logger.log_dir) / "metrics.csv").read_text().splitlines() == ["loss,step", "1.0,0"]


def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    method = Scripted(lambda problem, _: Round([problem.full_task(Epochs(3))]))
    with caplog.at_level(logging.INFO), pytest.raises(InterruptedError):
        fit(tmp_path, method, Interrupt(2))
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert last.is_file()
    command = f"python -m bet_lightning fit --config {tmp_path / 'config.yaml'} --ckpt_path {last}"
    assert f"continue: {command}" in caplog.messages


def test_a_run_that_ends_for_its_settings_is_not_to_be_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = Scripted(lambda problem, _: Round([problem.full_task(Epochs(1))]))
    fit(tmp_path, method)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="max_steps"):
        fit(tmp_path, method, max_steps=3)
    assert not [message for message in caplog.messages if message.startswith("continue")]


def test_the_saved_configuration_has_the_settings_and_nothing_of_the_command(tmp_path: Path) -> None:
    train = {"class_path": UNIFORM["class_path"], "init_args": {"train": {"max_epochs": 0}}}
    main(["fit", "--config", str(write_config(tmp_path, "run", method=train))])
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved.keys() >= {"seed_everything", "model", "data", "search", "trainer"}
    assert not saved.keys() & {"ckpt_path", "output", "dtype", "history", "budget", "fine_tune", "num_probes"}
    assert saved["search"]["method"]["class_path"].endswith("UniformSizes")
    assert saved["search"]["method"]["init_args"]["train"]["max_epochs"] == 0
