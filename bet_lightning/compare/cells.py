"""Cells of a comparison: every combination of its axes and seeds, each a run of its own."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Settings = Mapping[str, Any]  # as a config of ``fit`` has them
_KEYS = ("base", "axes", "seeds", "published")
_SOURCE = "starts_from"  # of a value of an axis: the value that it takes the full table from
_MACHINE = (
    "data_dir",
    "default_root_dir",
    "accelerator",
    "devices",
    "enable_progress_bar",
)  # without effect on results


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
        values: Name of the value of each axis.
        seed: Seed of the run.
        settings: What its run is configured with.
        source: Values of the cell whose full table its method starts from, if that cell has been run; None where it
            trains one of its own. Either way it is the same table, so that this is no part of the settings.
    """

    values: Mapping[str, str]
    seed: int
    settings: Settings
    source: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """What the cell is called, by its values and its seed."""
        return "-".join([*(re.sub(r"[^\w.@]+", "_", value) for value in self.values.values()), f"seed{self.seed}"])

    @property
    def key(self) -> str:
        """A short hash of the settings, without what a machine may change."""
        text = json.dumps(_without_machine(self.settings), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def folder(self, runs: Path) -> Path:
        """Return the folder of its run among those of the comparison."""
        return runs / f"{self.name}-{self.key}"


@dataclass(frozen=True)
class Comparison:
    """A table of cells.

    Attributes:
        path: The YAML file that it is from.
        axes: Names of the axes.
        cells: The cells, the last axis changing fastest.
        published: A CSV of published results to draw the cells relative to.
    """

    path: Path
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    published: Path | None = None

    @property
    def table(self) -> Path:
        """The CSV of its results."""
        return self.path.with_suffix(".csv")

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """Read a comparison: ``base`` settings, ``axes`` of named settings merged over them in order, and ``seeds``.

        A value of an axis may name another in ``starts_from``: one whose runs train the same full table. ``published``
        names a CSV beside the file, with data, backbone, method, budget and metrics of published results.

        Raises:
            ValueError: If the file is missing or not of this form.
        """
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: not a comparison ({str(error).splitlines()[0]})") from None
        if not isinstance(content, dict) or set(content) - set(_KEYS) or not isinstance(content.get("axes", {}), dict):
            raise ValueError(f"{path}: a comparison has {', '.join(_KEYS)}, got {_keys(content)}")
        axes: dict[str, dict[str, Settings]] = content.get("axes") or {}
        for axis, values in axes.items():
            if not isinstance(values, dict) or not values:
                raise ValueError(f"{path}: axis {axis} needs named values, got {values!r}")
        cells = []
        for names in itertools.product(*(values for values in axes.values())):
            settings: Settings = content.get("base") or {}
            chosen: dict[str, str] = {}
            others: dict[str, str] = {}
            for (axis, values), name in zip(axes.items(), names, strict=True):
                chosen[axis] = str(name)
                own = dict(values[name] or {})
                if _SOURCE in own:
                    others[axis] = str(own.pop(_SOURCE))
                    if others[axis] not in map(str, values):
                        raise ValueError(f"{path}: {axis} {name} starts from {others[axis]}, which there is not")
                settings = merge(settings, own)
            source = {**chosen, **others} if others else None
            for seed in content.get("seeds") or [0]:
                cells.append(Cell(chosen, int(seed), merge(settings, {"seed_everything": int(seed)}), source))
        published = path.parent / str(content["published"]) if content.get("published") else None
        if published and not published.is_file():
            raise ValueError(f"{path}: published {published}: no such file")
        return cls(path, tuple(axes), tuple(cells), published)

    def source_of(self, cell: Cell) -> Cell | None:
        """Return the cell whose full table another one starts from, if it starts from one."""
        return next((each for each in self.cells if each.values == cell.source and each.seed == cell.seed), None)


def merge(base: Settings, more: Settings) -> Settings:
    """Return settings with others over them, section by section; another class brings its own arguments."""
    merged = dict(base)
    for name, value in more.items():
        below = merged.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            other_class = "class_path" in value and value["class_path"] != below.get("class_path")
            merged[name] = value if other_class else merge(below, value)
        else:
            merged[name] = value
    return merged


def _without_machine(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {name: _without_machine(each) for name, each in value.items() if name not in _MACHINE}
    return {name: each for name, each in kept.items() if each != {}}


def _keys(content: object) -> str:
    return ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
