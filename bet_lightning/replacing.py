"""Files that are replaced in one step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside another to write, and move it there in one step: readers see the old or the new content.

    Args:
        path: The file to replace; its folder is made.

    Raises:
        ValueError: If it cannot be written, as where the disk is full. What was there before stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: cannot be written ({reason}); what was there before is still there") from error
    finally:
        partial.unlink(missing_ok=True)
