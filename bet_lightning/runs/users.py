"""What each user reached in a test: a small Parquet file of a run folder, so that methods are compared user by user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from bet_lightning.replacing import replacing

USERS = "test_users.parquet"


def user_table(users: npt.NDArray[np.int64], values: npt.NDArray[np.float32], names: Sequence[str]) -> pl.DataFrame:
    """Return metrics by user as a table with a column ``user`` and one a metric.

    Args:
        users: ``(n,)`` int64, the users' index in the data.
        values: ``(n, len(names))`` float32.
        names: Names of the metrics, as ``recall@20``.

    Returns:
        ``user`` as uint32 and the metrics as float32.
    """
    metrics = {name: values[:, column] for column, name in enumerate(names)}
    return pl.DataFrame({"user": users.astype(np.uint32), **metrics})


def write_users(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write ``test_users.parquet``: the tables of all results, with a column ``result`` that names them.

    Args:
        folder: The run folder.
        tables: The table of each result by its name.

    Raises:
        ValueError: If it cannot be written.
    """
    named = [table.select(pl.lit(name).alias("result"), pl.all()) for name, table in tables.items()]
    with replacing(folder / USERS) as partial:
        pl.concat(named).write_parquet(partial)


def read_users(folder: Path) -> dict[str, pl.DataFrame]:
    """Return what each user reached with each result by its name; nothing where that was not kept.

    Args:
        folder: The run folder.

    Raises:
        ValueError: If the file is not what a test writes.
    """
    path = folder / USERS
    if not path.is_file():
        return {}
    try:
        parts = pl.read_parquet(path).partition_by("result", as_dict=True, include_key=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{path}: not the metrics of single users ({error})") from None
    return {str(name): table for (name,), table in parts.items()}
