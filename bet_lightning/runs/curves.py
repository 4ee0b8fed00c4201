"""Validations of the trainings of a run as they go: ``curves.jsonl``, one a line."""

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bet_lightning.methods.tasks import Phase, Task

CURVES = "curves.jsonl"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurvePoint:
    """A validation within a training that competes for a result.

    Attributes:
        training: Tells trainings apart that compete for one result, and is the same after a resumption.
        phase: What the training is for.
        name: Name of the result.
        epoch: Epochs that were trained; 0 before the first.
        metrics: ``recall@k`` and ``ndcg@k`` on validation by name.
    """

    training: str
    phase: Phase
    name: str
    epoch: int
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, task: Task, epoch: int, metrics: Mapping[str, float]) -> "CurvePoint":
        """Take down a validation of a task that has a name."""
        return cls(f"{zlib.crc32(task.key.encode()):08x}", task.phase, task.name or "", epoch, dict(metrics))


def append_point(folder: Path, point: CurvePoint) -> None:
    """Add a line to ``curves.jsonl``; a run goes on without where the disk is full: what counts is in other files."""
    path = folder / CURVES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
    except OSError as error:
        log.warning("%s: cannot be written (%s)", path, error)


def read_points(folder: Path) -> list[CurvePoint]:
    """Read ``curves.jsonl``: every epoch once, though a run that went on from a checkpoint may have repeated some.

    A line that a crash has cut off is left out; a run without the file has no points.
    """
    path = folder / CURVES
    points: dict[tuple[str, int], CurvePoint] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            point = CurvePoint(**json.loads(line))
        except (ValueError, TypeError):
            continue
        points[point.training, point.epoch] = point
    return list(points.values())
