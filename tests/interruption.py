"""Breaks a run off in its middle, as a crash would: after an epoch's checkpoint has been written.

``python -m tests.interruption EPOCHS fit …`` does so to a command.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

from bet_lightning.callbacks.table_search import TableSearch
from bet_lightning.cli import main


class Interrupted(Exception):
    """A run was broken off."""


@contextmanager
def interrupted_after(epochs: int) -> Iterator[None]:
    """Break runs off when they are about to train one epoch more."""
    start = TableSearch.on_train_epoch_start

    def stop(search: TableSearch, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == epochs:
            raise Interrupted
        start(search, trainer, pl_module)

    TableSearch.on_train_epoch_start = stop  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        TableSearch.on_train_epoch_start = start  # type: ignore[method-assign]


if __name__ == "__main__":
    with interrupted_after(int(sys.argv[1])):
        main(sys.argv[2:])
