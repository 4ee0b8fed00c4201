"""Checkpoints written straight to their file."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO


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
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        partial = f"{path}.partial"
        torch.save(checkpoint, partial)
        os.replace(partial, path)
