"""The files of a run folder, written atomically and readable without this package."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bet_lightning import __version__
from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.methods.rules import read_sizes, write_sizes
from bet_lightning.replacing import replacing
from bet_lightning.runs.records import RunRecord

SUMMARY, ACTIONS, POPULARITY = "summary.json", "actions.jsonl", "popularity.json"
EXPORTS = "exports"  # folder within that of a run, for what is made from it
FREQUENCY = "frequency.txt"


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the new content, never a part.

    Raises:
        ValueError: If it cannot be written, as where the disk is full.
    """
    with replacing(path) as partial:
        partial.write_text(text)


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``summary.json``."""
    write_text(folder / SUMMARY, json.dumps(record.as_dict(), indent=2) + "\n")


def read_record(folder: Path) -> RunRecord:
    """Read ``summary.json``.

    Raises:
        ValueError: If it is missing or not what a run writes.
    """
    path = folder / SUMMARY
    try:
        return RunRecord.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no finished run here, run `fit` first ({error})") from None


def write_probes(folder: Path, records: Sequence[ProbeRecord]) -> None:
    """Write ``actions.jsonl``, one probed action a line."""
    write_text(folder / ACTIONS, "".join(json.dumps(record.as_dict()) + "\n" for record in records))


def read_probes(path: Path) -> list[ProbeRecord]:
    """Read ``actions.jsonl``.

    Raises:
        ValueError: If the file is missing or a line is not a probed action.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a search writes it as {ACTIONS} into its run folder")
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            records.append(ProbeRecord.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a probed action ({error!r})") from None
    return records


def write_popularity(folder: Path, users: PopularityProfile, items: PopularityProfile) -> None:
    """Write ``popularity.json``: distinct training frequencies and how many rows have each."""
    sides = {"users": users, "items": items}
    profiles = {
        side: {"frequency": profile.frequency.tolist(), "rows": profile.starts.diff().tolist()}
        for side, profile in sides.items()
    }
    write_text(folder / POPULARITY, json.dumps(profiles) + "\n")


def read_popularity(folder: Path) -> tuple[PopularityProfile, PopularityProfile]:
    """Read ``popularity.json``: the users' and the items' profile.

    Raises:
        ValueError: If the file is missing or not what a search writes.
    """
    path = folder / POPULARITY
    try:
        sides = json.loads(path.read_text())
        users, items = (
            PopularityProfile(
                torch.tensor(sides[side]["frequency"], dtype=torch.float64),
                torch.tensor([0, *sides[side]["rows"]], dtype=torch.int64).cumsum(0),
            )
            for side in ("users", "items")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the popularity file of a run ({error!r})") from None
    return users, items


def write_frequency(folder: Path, frequency: Tensor) -> None:
    """Write ``frequency.txt``: training interactions of every row, users first, in the order of ``sizes/``."""
    write_sizes(folder / FREQUENCY, frequency.long())


def read_rows(path: Path) -> Tensor | None:
    """Read a number a row, ``(num_rows,)`` int64: ``frequency.txt`` or the sizes of a result, if there is the file."""
    return read_sizes(str(path)) if path.is_file() else None


def sizes_path(folder: Path, result: str) -> Path:
    """Return where the sizes of a result's rows lie; results whose rows have no sizes have no such file."""
    return folder / "sizes" / f"{result}.txt"


def link_best(folder: Path, checkpoint: str, name: str) -> None:
    """Let ``checkpoints/<name>.ckpt`` be the checkpoint of a result, without a copy where the file system can.

    Raises:
        ValueError: If it cannot be written.
    """
    with replacing(folder / "checkpoints" / f"{name}.ckpt") as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(folder / checkpoint, partial)
        except OSError:
            shutil.copyfile(folder / checkpoint, partial)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "bet_lightning": __version__,
        "torch": str(torch.__version__),
        "pytorch_lightning": version("pytorch_lightning"),
        "numpy": np.__version__,
    }


def peak_memory_mb() -> float:
    """Return the largest memory of this process so far in MB: on the GPU if one is in use, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def checkpoint_name(result: str) -> str:
    """Return where the checkpoint of a result lies within a run folder."""
    return f"checkpoints/{result}.ckpt"
