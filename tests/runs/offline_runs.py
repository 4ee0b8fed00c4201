"""Reads what Weights & Biases keeps of an offline run: a log in LevelDB's format, each record a protobuf message."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2 as messages

_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32_768, 7, 7
_WHOLE, _LAST = 1, 4  # kinds of pieces that end a record


@dataclass
class OfflineRun:
    """What one process logged.

    Attributes:
        id: Id of the run.
        name: Its name for people.
        group: Its group.
        tags: Its tags.
        config: Its configuration.
        summary: The last value of everything in its summary.
        history: What was logged, step by step, by name.
        axes: What metrics are drawn against, by name.
        artifacts: Type, metadata and names of the files of each artifact, by name.
        exit_code: How it ended; None if it did not.
        folder: Its files.
    """

    folder: Path
    id: str = ""
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, tuple[str, dict[str, Any], list[str]]] = field(default_factory=dict)
    exit_code: int | None = None

    def curve(self, name: str) -> list[Any]:
        """Values of a metric in their order."""
        return [row[name] for row in self.history if name in row]

    def table(self, name: str) -> list[dict[str, Any]]:
        """Rows of the last table of a name."""
        content = json.loads((self.folder / "files" / self.summary[name]["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def read_offline_runs(folder: Path) -> list[OfflineRun]:
    """Read all offline runs that were saved below a folder, the oldest first; none may be going on."""
    wandb.teardown()  # its service writes the last records a moment after a run has ended
    return [
        _read(path) for path in sorted(folder.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_ctime_ns)
    ]


def _read(folder: Path) -> OfflineRun:
    (path,) = folder.glob("*.wandb")
    run = OfflineRun(folder)
    for content in _records(path.read_bytes()):
        record = messages.Record.FromString(content)
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.name, run.group = record.run.run_id, record.run.display_name, record.run.run_group
                run.tags = list(record.run.tags)
                _merge(run.config, record.run.config.update)
            case "config":
                _merge(run.config, record.config.update)
            case "summary":
                _merge(run.summary, record.summary.update)
            case "history":
                run.history.append({})
                _merge(run.history[-1], record.history.item)
            case "metric":
                run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            case "artifact":
                kept = record.artifact
                files = [entry.path for entry in kept.manifest.contents]
                run.artifacts[kept.name] = (kept.type, json.loads(kept.metadata or "{}"), files)
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def _merge(values: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        place = values
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)


def _records(log: bytes) -> Iterator[bytes]:
    """Join the pieces of records: each piece has a checksum, a length and a kind before it, and is within a block."""
    position, record = _FILE_HEADER, b""
    while position + _RECORD_HEADER <= len(log):
        left = _BLOCK - position % _BLOCK
        if left < _RECORD_HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", log, position)
        position += _RECORD_HEADER
        record += log[position : position + length]
        position += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
