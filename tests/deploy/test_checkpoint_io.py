from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.cli import main
from bet_lightning.deploy.checkpoint_io import FileCheckpointIO
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
