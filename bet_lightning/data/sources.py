"""Where interactions come from: a named data set, own files, made up ones, or what is held in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from bet_lightning.data.catalog import check_statistics, find_dataset, find_entry
from bet_lightning.data.columns import PACKED
from bet_lightning.data.encoding import encode_interactions
from bet_lightning.data.frames import ColumnNames, read_frame
from bet_lightning.data.graphs import read_graph
from bet_lightning.data.interactions import Interactions
from bet_lightning.data.parquet import is_pattern
from bet_lightning.data.readers import read_interactions
from bet_lightning.data.synthetic import make_synthetic

# Names of files that do not tell which data set they hold.
_TELLS_NOTHING = {"train", "training", "data", "dataset", "interactions", "ratings", "events", "all"}
SYNTHETIC = "synthetic"


class Source(ABC):
    """Interactions of one data set.

    Attributes:
        name: Name of the data set.
    """

    name: str

    def prepare(self) -> None:  # noqa: B027  (most need nothing)
        """Download what is missing."""

    @abstractmethod
    def read(self, *, timed: bool, ordered: bool) -> dict[str, Interactions]:
        """Return the interactions by part: ``train``, and ``valid`` and ``test`` where the data set has them.

        Args:
            timed: Whether times are wanted, where there are any.
            ordered: Whether adjacency lists are in order of time.

        Raises:
            ValueError: If the content is invalid.
            FileNotFoundError: If a file is missing.
        """


@dataclass
class Catalogued(Source):
    """A data set of the catalog, in ``data_dir/<name>/``."""

    name: str
    data_dir: str

    def __post_init__(self) -> None:
        """Refuse a name that is unknown."""
        find_entry(self.name)

    def prepare(self) -> None:
        """Download the files that are missing."""
        find_dataset(self.name, self.data_dir)

    def read(self, *, timed: bool, ordered: bool) -> dict[str, Interactions]:
        """Read the files and check that they hold what their name promises."""
        parts = _read_files(find_dataset(self.name, self.data_dir), ColumnNames(), timed, ordered)
        check_statistics(self.name, Path(self.data_dir) / self.name, parts)
        return parts


@dataclass
class OwnFiles(Source):
    """Files by part, named after the training file or its folder."""

    paths: Mapping[str, Path]
    columns: ColumnNames
    separator: str | None

    def __post_init__(self) -> None:
        """Name the data."""
        self.name = own_name(self.paths["train"])

    def read(self, *, timed: bool, ordered: bool) -> dict[str, Interactions]:
        """Read the files."""
        return _read_files(self.paths, self.columns, timed, ordered, self.separator)


@dataclass
class MadeUp(Source):
    """Synthetic interactions."""

    users: int
    items: int
    interactions: int
    seed: int
    name: str = SYNTHETIC

    def read(self, *, timed: bool, ordered: bool) -> dict[str, Interactions]:
        """Draw them."""
        return {"train": make_synthetic(self.users, self.items, self.interactions, seed=self.seed)}


@dataclass
class Held(Source):
    """A graph or a data set of torch_geometric or a frame, or a function that returns one."""

    held: Any
    columns: ColumnNames
    edge_type: str | None
    name: str

    def prepare(self) -> None:
        """Make the object, which may download it."""
        self.held = self._made()

    def read(self, *, timed: bool, ordered: bool) -> dict[str, Interactions]:
        """Read the graph's edges or the frame's rows."""
        from torch_geometric.data import Dataset, HeteroData

        self.held = found = self._made()
        if isinstance(found, Dataset):
            if len(found) != 1:
                raise ValueError(f"data.source {self.name} has {len(found)} graphs, there must be one")
            found = found[0]
        if isinstance(found, HeteroData):
            return read_graph(found, self.edge_type, self.columns, timed=timed)
        frame = _to_frame(found)
        if frame is None:
            raise ValueError(f"data.source must hold a HeteroData or a frame, got {type(found).__name__}")
        if self.edge_type is not None:
            raise ValueError(f"data.edge_type {self.edge_type!r} is of no use: a frame has columns, no edges")
        (interactions,) = encode_interactions([read_frame("data.source", frame, self.columns, timed=timed)])
        return {"train": interactions}

    def _made(self) -> Any:
        """Return the object; a function is called, once."""
        if not callable(self.held):
            return self.held
        try:
            return self.held()
        except OSError as error:
            raise FileNotFoundError(f"data.source {self.name}: {error}") from error


def choose_source(
    name: str,
    data_dir: str,
    files: Mapping[str, str | None],
    held: object | None,
    made_up: MadeUp,
    columns: ColumnNames,
    *,
    edge_type: str | None,
    separator: str | None,
) -> Source:
    """Return the source that options ask for.

    Args:
        name: ``synthetic``, a name of the catalog, or what to call ``held``.
        data_dir: Folder of the catalog's data sets.
        files: Own files by option: ``path``, or ``train_path``, ``valid_path`` and ``test_path``.
        held: What is held in memory, or a function that makes it.
        made_up: The synthetic data set.
        columns: What to read of own files, of a frame or of edges.
        edge_type: The edges of a graph that are interactions.
        separator: What stands between columns of text.

    Raises:
        ValueError: If two are asked for, or an option is of no use with the one.
    """
    paths = _collect_paths(files)
    own = bool(paths) or held is not None
    if paths and held is not None:
        raise ValueError(f"data.source and a file, {paths['train']}, exclude each other")
    needs = [(flag, value, "data.path, data.train_path or data.source") for flag, value in columns.given() if not own]
    if separator is not None and not paths:
        needs.append(("data.separator", separator, "data.path or data.train_path"))
    if edge_type is not None and held is None:
        needs.append(("data.edge_type", edge_type, "data.source"))
    for flag, value, needed in needs:
        raise ValueError(f"{flag} {value!r} needs {needed}")
    if held is not None:
        return Held(held, columns, edge_type, held_name(held) if name == SYNTHETIC else name)
    if paths:
        return OwnFiles(paths, columns, separator)
    return made_up if name == SYNTHETIC else Catalogued(name, data_dir)


def _collect_paths(files: Mapping[str, str | None]) -> dict[str, Path]:
    """Return own files by part; a single file is the part ``train``."""
    given = {flag: file for flag, file in files.items() if file is not None}
    path = given.pop("path", None)
    other = next(iter(given), None)
    if path is not None and other is not None:
        raise ValueError(f"data.path {path} and data.{other} {given[other]} exclude each other")
    if other is not None and "train_path" not in given:
        raise ValueError(f"data.{other} {given[other]} needs data.train_path")
    parts = {flag.removesuffix("_path"): Path(file) for flag, file in given.items()}
    return parts if path is None else {"train": Path(path)}


def held_name(held: object) -> str:
    """Name what is held in memory after its class, or after the function or class that makes it."""
    if isinstance(held, partial):  # the parser's partials hold the class as an argument
        held = next((each for each in (held.func, *held.args) if isinstance(each, type)), held.func)
    return str(getattr(held, "__name__", type(held).__name__)).lower()


def own_name(path: Path) -> str:
    """Name own data after the training file or folder, or after the folder above where that name tells nothing."""
    if is_pattern(path):
        return own_name(path.parent)
    resolved = path.resolve()
    folder, name = resolved.parent.name, Path(path.stem).stem if path.suffix.lower() == PACKED else path.stem
    name = resolved.name if path.is_dir() else name
    return folder if name.lower() in _TELLS_NOTHING and folder else name


def _read_files(
    paths: Mapping[str, Path], columns: ColumnNames, timed: bool, ordered: bool, separator: str | None = None
) -> dict[str, Interactions]:
    """Read files by part, with one vocabulary for all."""
    tables = [
        read_interactions(path, columns, timed=timed, ordered=ordered, separator=separator) for path in paths.values()
    ]
    return dict(zip(paths, encode_interactions(tables), strict=True))


def _to_frame(found: Any) -> pl.LazyFrame | None:
    """Return a frame of polars, or one of pandas as such, without importing pandas; None if it is no frame."""
    if isinstance(found, pl.DataFrame | pl.LazyFrame):
        return found.lazy()
    if not hasattr(found, "iloc"):
        return None
    return pl.DataFrame([_to_series(str(name), column) for name, column in found.items()]).lazy()


def _to_series(name: str, column: Any) -> pl.Series:
    """Return a series of pandas; not by polars itself, which asks for pyarrow where it holds text."""
    values = column.to_numpy()
    if values.dtype == object:
        values = column.astype(object).where(column.notna(), None).tolist()
    return pl.Series(name, values, strict=False)
