"""One writer per run folder."""

import os
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


def lock_folder(folder: Path) -> BaseFileLock:
    """Reserve a run folder for this process until the lock is released or the process ends, however it ends.

    The lock file lies beside the folder, so that it survives when an older run is moved aside.

    Args:
        folder: The run folder, which need not exist yet.

    Returns:
        The acquired lock, a context manager.

    Raises:
        ValueError: If another run that is alive has the folder, it cannot be written, or it is none.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"trainer.default_root_dir {folder}: no folder")
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"trainer.default_root_dir {folder}: cannot be written")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(
            f"trainer.default_root_dir {folder}: another run is writing to this folder; wait or name another folder"
        ) from None
    except OSError as error:
        raise ValueError(f"trainer.default_root_dir {folder}: cannot be written ({error})") from None
    return lock
