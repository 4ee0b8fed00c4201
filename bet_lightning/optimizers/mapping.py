"""Zeros in a file that is mapped into memory, for what need not all be there at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor


def mapped_zeros(like: Tensor, folder: Path) -> Tensor:
    """Return float32 zeros of a tensor's shape in a file without a name, which is gone with the last use of them.

    Args:
        like: Has the shape.
        folder: Where the file is to be: on a disk, or nothing is won.

    Raises:
        ValueError: If there is no such folder, or no room in it.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # without room, the first write to it would kill the process
                os.posix_fallocate(file.fileno(), 0, max(4 * like.numel(), 1))
            return torch.from_file(file.name, shared=True, size=like.numel(), dtype=torch.float32).view(like.shape)
    except OSError as error:
        raise ValueError(f"model.state_dir {folder}: no room for {4 * like.numel()} bytes ({error.strerror})") from None
