"""Checkpoints: written straight to their file, checked before they are read; packed tables are read as checkpoints."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from bet_lightning.checkpoints import BACKBONE, DATA_HASH, KIND, read_checkpoint
from bet_lightning.deploy.packing import read_weights
from bet_lightning.replacing import replacing
from bet_lightning.serving import PackedTable
from bet_lightning.serving.header import HEADER


class FileCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and moves it there in one step; readers see the old or the new checkpoint.

    Lightning's own holds the whole checkpoint in memory, twice, before it writes.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save.

        Args:
            checkpoint: What to save.
            path: The file; its folder is made.
            storage_options: Not used.

        Raises:
            ValueError: If the file cannot be written, as where the disk is full. What was there before stays.
        """
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load a checkpoint, or a packed table as the checkpoint of a masked one.

        Args:
            path: The file, or the table's folder.
            map_location: Where tensors go.
            weights_only: Whatever it is, only tensors and plain values are read, and nothing is executed.

        Raises:
            ValueError: If the checkpoint is damaged, or the packed table is not sound.
        """
        if not Path(path).is_dir():
            return read_checkpoint(path)
        table = PackedTable.load(path)
        weights = {f"{BACKBONE}{name}": value for name, value in read_weights(table).items()}
        return {
            "state_dict": weights,
            "pytorch-lightning_version": version("pytorch_lightning"),
            DATA_HASH: table.header["dataset"]["hash"],
            KIND: table.header["backbone"]["name"],
        }


def check_checkpoint(path: Path, *, resumes: bool) -> None:
    """Refuse what is neither a checkpoint of tensors and plain values, nor a packed table.

    Args:
        path: The file, or the folder of a packed table.
        resumes: Whether a training is to go on from it.

    Raises:
        ValueError: If it is missing, broken, of something else, or has weights only where a training is to go on.
    """
    if path.is_dir():
        if not (path / HEADER).is_file():
            raise ValueError(f"--ckpt_path {path}: a folder without a packed table; a checkpoint is a file")
        if resumes:
            raise ValueError(f"--ckpt_path {path}: a packed table; fit goes on from a run's last.ckpt")
        try:
            PackedTable.load(path)
        except ValueError as error:
            raise ValueError(f"--ckpt_path {error}") from None
        return
    try:
        checkpoint = read_checkpoint(path, mmap=True)
    except ValueError as error:
        raise ValueError(f"--ckpt_path {error}") from None
    missing = {"state_dict", "pytorch-lightning_version"} - set(checkpoint)
    if missing:
        raise ValueError(f"--ckpt_path {path}: not a checkpoint of this package, it has no {min(missing)}")
    if resumes and "optimizer_states" not in checkpoint:
        raise ValueError(f"--ckpt_path {path}: holds a result's weights only; fit goes on from a run's last.ckpt")
