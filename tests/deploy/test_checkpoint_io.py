import io
import os
import resource
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bet_lightning.checkpoints import read_checkpoint
from bet_lightning.cli import main
from bet_lightning.deploy.checkpoint_io import FileCheckpointIO, check_checkpoint
from tests.conftest import write_config


def test_a_broken_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "last.ckpt"
    writer = FileCheckpointIO()
    writer.save_checkpoint({"epoch": 1, "weight": torch.ones(3)}, path)
    with pytest.raises(Exception, match="pickle"):
        writer.save_checkpoint({"epoch": lambda: 2}, path)
    assert torch.load(path, weights_only=True)["epoch"] == 1
    writer.save_checkpoint({"epoch": 3}, str(path))
    assert torch.load(path, weights_only=True) == {"epoch": 3}


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "executed").touch, ()

    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "payload": Payload()}, path)
    with pytest.raises(ValueError, match=r"last\.ckpt: broken, or not a checkpoint \(Weights only load failed\)"):
        FileCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    FileCheckpointIO().save_checkpoint({"epoch": 1}, path)
    Path(f"{path}.partial").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"last\.ckpt: cannot be written .* what was there before is still there"):
        FileCheckpointIO().save_checkpoint({"weight": torch.ones(100_000)}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_runs_write_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    save = FileCheckpointIO.save_checkpoint

    def note(self: FileCheckpointIO, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        written.append(Path(path).name)
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(FileCheckpointIO, "save_checkpoint", note)
    main(
        [
            "fit",
            "--config",
            str(write_config(tmp_path, "run", search={"num_iterations": 0}, pretrain={"max_epochs": 1})),
        ]
    )
    assert {"full.ckpt", "last.ckpt"} == set(written)
    assert not list((tmp_path / "run" / "checkpoints").glob("*.partial"))


def damage(content: bytes, trial: int, generator: np.random.Generator) -> bytes:
    """Flip a bit, cut the end off, exchange two bytes, insert some or blank a stretch."""
    changed = bytearray(content)
    place, other = (int(each) for each in generator.integers(len(content), size=2))
    match trial % 5:
        case 0:
            changed[place] ^= 1 << int(generator.integers(8))
        case 1:
            del changed[place:]
        case 2:
            changed[place], changed[other] = changed[other] ^ 255, changed[place]
        case 3:
            changed[place:place] = generator.bytes(int(generator.integers(1, 9)))
        case 4:
            changed[place : place + 64] = bytes(64)
    return bytes(changed)


def same(left: Any, right: Any) -> bool:
    """Whether two checkpoints hold the same."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and left.equal(right)
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("name", ["last", "full"])
def test_a_thousand_damaged_checkpoints_are_refused_or_read_as_they_were(
    name: str, finished_run: Path, tmp_path: Path
) -> None:
    """500 of each kind; a byte that nobody reads, as between two entries, may be any."""
    content = (finished_run / "checkpoints" / f"{name}.ckpt").read_bytes()
    expected = read_checkpoint(finished_run / "checkpoints" / f"{name}.ckpt")
    generator, path, num_refused = np.random.default_rng(0), tmp_path / "damaged.ckpt", 0
    for trial in range(500):
        path.write_bytes(damage(content, trial, generator))
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            num_refused += 1
            assert str(error).startswith(f"{path}: broken, or not a checkpoint (") and "\n" not in str(error)
        else:
            assert same(found, expected), trial
    assert num_refused > 300


def sign(content: bytes, pickled: bytes) -> bytes:
    """A checkpoint with another pickle, whose checksums are sound."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else old.read(entry))
    return written.getvalue()


def pickle_of(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return next(archive.read(entry) for entry in archive.infolist() if entry.filename.endswith("data.pkl"))


def test_a_thousand_signed_pickles_are_read_or_refused_and_take_no_memory(finished_run: Path, tmp_path: Path) -> None:
    """Counts and names altered where checksums are made to fit: whatever they say, it is a line or plain values."""
    content = (finished_run / "checkpoints" / "full.ckpt").read_bytes()
    pickled, generator, path = pickle_of(content), np.random.default_rng(1), tmp_path / "signed.ckpt"
    before, num_refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for trial in range(1000):
        path.write_bytes(sign(content, damage(pickled, trial, generator)))
        try:
            check_checkpoint(path, resumes=False)
            read_checkpoint(path)
        except ValueError as error:
            num_refused += 1
            assert "signed.ckpt: " in str(error) and "\n" not in str(error)
    assert num_refused > 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 << 20  # kilobytes


class Payload:
    """Touches a file when it is unpickled.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("command", ["fit", "test", "predict", "export"])
@pytest.mark.parametrize("place", ["state_dict", "callbacks", "payload"])
def test_no_command_executes_a_checkpoint(
    place: str, command: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed = tmp_path / "executed"
    checkpoint = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint.setdefault(place, {})["more"] = Payload(executed)
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    assert executed.exists() is False
    config = write_config(tmp_path, "run")
    output = [f"--output={tmp_path / 'table'}"] if command == "export" else []
    with pytest.raises(SystemExit, match="2"):
        main([command, "--config", str(config), f"--ckpt_path={tmp_path / 'evil.ckpt'}", *output])
    assert "evil.ckpt: broken, or not a checkpoint (Weights only load failed)" in capsys.readouterr().err
    assert not executed.exists()


@pytest.mark.parametrize("command", ["test", "predict", "export"])
def test_a_result_that_is_damaged_is_named(
    command: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    for path in (run / "checkpoints").glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-100])
    output = [f"--output={tmp_path / 'table'}"] if command == "export" else []
    config = ["--config", str(finished_run / "config.yaml"), f"--trainer.default_root_dir={run}"]
    with pytest.raises(SystemExit, match="2"):
        main([command, *config, *output])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {run}/checkpoints/") and "broken, or not a checkpoint (File is not a zip" in line


def test_a_compressed_checkpoint_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(ValueError, match=r"bomb.ckpt: broken, or not a checkpoint \(it is compressed\)"):
        read_checkpoint(path)
