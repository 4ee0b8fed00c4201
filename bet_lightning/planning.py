"""What a table, a graph and interactions of any size take: bytes, devices and hours, before any of it is there.

Bytes follow from the types in which the package holds things. Seconds follow from costs that were measured on small
data (:class:`Costs`), scaled by rows, interactions and columns; what devices exchange is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

BackboneName = Literal["LightGCN", "MF", "NeuMF", "NGCF"]
Sharing = Literal["one", "columns", "rows"]

_FLOAT = 4  # bytes of a float32
_TRAINED = 4  # floats a parameter: value, gradient and Adam's two means
_BLOCK_COLUMNS = 32  # that LightGCN propagates at once, in four arrays
_LAYERS = 3
_CSR, _READING, _SAMPLER, _BUILDING = 4, 12, 40, 120  # bytes an interaction
_PROBED_USERS = 10_000  # that a probe is validated on, by default
_MAX_INT32 = (1 << 31) - 1
_REFIT_STEPS = 5


@dataclass(frozen=True)
class Workload:
    """What is to be trained, and with what.

    Attributes:
        users: Number of users.
        items: Number of items.
        interactions: Pairs to train on.
        budget: Bytes of the packed table.
        device_memory: Bytes of a device.
        devices: Number of devices.
        size: Columns of the full table.
        backbone: Name of the backbone.
        epochs: Epochs of pretraining, and of retraining.
        probes: Actions that are probed.
        batch_size: Triplets a step, of all devices together.
        candidates: Candidate actions a probe is chosen from.
        speed: How many times as fast as the measured machine a device is.

    Raises:
        ValueError: If a value is out of range. The message names its flag.
    """

    users: int
    items: int
    interactions: int
    budget: int
    device_memory: int
    devices: int = 1
    size: int = 64
    backbone: BackboneName = "LightGCN"
    epochs: int = 20
    probes: int = 45
    batch_size: int = 8192
    candidates: int = 100
    speed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("users", "items", "interactions", "budget", "device_memory", "devices", "size", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "probes", "candidates"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must not be negative, got {getattr(self, name)}")
        if self.interactions > self.users * self.items:
            raise ValueError(f"--interactions {self.interactions} are more than users times items")
        if self.backbone not in get_args(BackboneName):
            raise ValueError(f"--backbone must be one of {', '.join(get_args(BackboneName))}, got {self.backbone!r}")
        if not 0 < self.speed < math.inf:
            raise ValueError(f"--speed must be positive, got {self.speed}")

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.users + self.items

    @property
    def propagates(self) -> bool:
        """Whether a step goes through the whole graph, rather than look up the rows of its batch."""
        return self.backbone in ("LightGCN", "NGCF")

    @property
    def has_apart_columns(self) -> bool:
        """Whether devices can share the table's columns out (``--trainer.strategy columns``)."""
        return self.backbone in ("LightGCN", "MF")

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.interactions / self.batch_size)


@dataclass(frozen=True)
class Costs:
    """Measured seconds of one backbone.

    Attributes:
        step: Of a step, whatever its size.
        row: Of a step, a row of the table and column.
        interaction: Of a step, an interaction of the graph and column.
        triplet: Of a step, a triplet of its batch and column.
        score: Of a pair of user and item that is ranked, and column.
        draw: Of a triplet that is drawn.
        candidate: Of a candidate action that is drawn and scored.
    """

    step: float
    row: float
    interaction: float
    triplet: float
    score: float
    draw: float
    candidate: float

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0:
            raise ValueError(f"costs must not be negative, got {self}")

    @classmethod
    def read(cls, measured: Mapping[str, Any], backbone: BackboneName) -> Costs:
        """Take the costs of a backbone from what ``costs.json`` holds."""
        return cls(**measured["backbones"][backbone], **measured["search"])

    def propagation(self, work: Workload) -> float:
        """Seconds in which one device goes through the graph forwards and backwards."""
        return work.size * (self.row * work.rows + self.interaction * work.interactions) if work.propagates else 0.0

    def epoch_seconds(self, work: Workload, devices: int = 1) -> float:
        """Seconds of a training epoch on devices that share steps out, without validation; each draws all triplets."""
        shared = (self.propagation(work) + self.triplet * work.size * work.batch_size) / devices
        return (work.steps * (self.step + shared) + self.draw * work.interactions) / work.speed

    def ranking_seconds(self, work: Workload, users: int) -> float:
        """Seconds in which one device ranks all items for some users."""
        return self.score * users * work.items * work.size / work.speed


@dataclass(frozen=True)
class Memory:
    """Bytes of what is held; interactions are in a host's memory, all else on devices.

    Attributes:
        table: The full table as float32.
        training: The table, its gradient and Adam's state.
        propagation: What a step holds of all rows beside that.
        graph: The adjacency matrix.
        vectors: Final vectors to rank with.
        matrix: Interactions as the data set holds them.
        reading: The peak while they are read and sorted.
        sampler: What triplets are drawn from.
        building: The peak while the adjacency matrix is built.
    """

    table: int
    training: int
    propagation: int
    graph: int
    vectors: int
    matrix: int
    reading: int
    sampler: int
    building: int

    @classmethod
    def of(cls, work: Workload) -> Memory:
        """Return the bytes of a workload."""
        width = work.size * (2 if work.backbone == "NeuMF" else 1)
        table = _FLOAT * width * work.rows
        floats = {"LightGCN": 4 * min(_BLOCK_COLUMNS, width), "NGCF": 3 * _LAYERS * width}.get(work.backbone, 0)
        index = 4 if 2 * work.interactions <= _MAX_INT32 else 8
        graph = 2 * work.interactions * (index + _FLOAT) + index * (work.rows + 1)
        layers = 1 + _LAYERS if work.backbone == "NGCF" else 1  # of which NGCF's final vectors are made up
        return cls(
            table=table,
            training=_TRAINED * table,
            propagation=_FLOAT * floats * work.rows,
            graph=graph if work.propagates else 0,
            vectors=layers * table if work.propagates else 0,
            matrix=_CSR * work.interactions + 8 * (work.users + 1),
            reading=_READING * work.interactions,
            sampler=_SAMPLER * work.interactions,
            building=_BUILDING * work.interactions if work.propagates else 0,
        )

    @property
    def probing(self) -> int:
        """Bytes of a device that probes a cut table untrained: it has the whole table."""
        return self.table + self.vectors + self.propagation + self.graph

    def a_device(self, work: Workload, sharing: Sharing, devices: int) -> int:
        """Return the most bytes that one of several devices holds while the table is trained.

        Those that share columns gather and sort all final vectors to validate, which takes two tables each.
        """
        if sharing == "rows":
            return -(-(self.training + self.propagation + self.graph) // devices)
        columns = -(-work.size // devices)
        held = -(-self.training * columns // work.size) + self.graph
        held += self.propagation * min(columns, _BLOCK_COLUMNS) // min(work.size, _BLOCK_COLUMNS)
        return held + (2 * self.table if devices > 1 else 0)


@dataclass(frozen=True)
class Plan:
    """Where a workload's table is held, and how long it takes.

    Attributes:
        work: The workload.
        memory: Its bytes.
        sharing: How devices hold the table: ``one`` does, or its ``columns`` or its ``rows`` are shared out.
        least: The fewest devices that hold it so.
        used: Devices that train together.
        seconds: Seconds by phase: ``pretraining``, ``search`` and ``retraining``.
        parts: All of these seconds by what they are spent on.
    """

    work: Workload
    memory: Memory
    sharing: Sharing
    least: int
    used: int
    seconds: Mapping[str, float]
    parts: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """What most of the time is spent on."""
        return max(self.parts, key=lambda part: self.parts[part])


def least_devices(work: Workload, sharing: Sharing) -> int | None:
    """Return the fewest devices that can hold a table's training; None if no number can."""
    memory = Memory.of(work)
    if sharing == "rows":
        return math.ceil(memory.a_device(work, "rows", 1) / work.device_memory)
    if sharing == "columns" and not work.has_apart_columns:
        return None
    numbers = range(1, 1 + (work.size if sharing == "columns" else 1))
    return next((n for n in numbers if memory.a_device(work, sharing, n) <= work.device_memory), None)


def make_plan(work: Workload, costs: Costs) -> Plan:
    """Choose how to share the table, by one device, columns or rows in this order, and add up the seconds."""
    sharing, least = _choose_sharing(work)
    most = work.devices if sharing == "rows" else work.size if work.has_apart_columns else 1
    used = max(least, min(work.devices, most))
    together = 1 if Memory.of(work).probing <= work.device_memory else least  # devices of a probe
    at_once = max(1, work.devices // together)
    epoch, probe = _epoch(work, costs, used), _probe(work, costs, together)
    validation = {"ranking": costs.ranking_seconds(work, work.users) / work.devices}
    training = _times(work.epochs, _add(epoch, validation))
    # a probe of NGCF is trained for an epoch
    search = _times(work.probes / at_once, _add(probe, _times(work.backbone == "NGCF", _epoch(work, costs, together))))
    seconds = {"pretraining": training, "search": search, "retraining": training}
    phases = {phase: sum(parts.values()) for phase, parts in seconds.items()}
    return Plan(work, Memory.of(work), sharing, least, used, phases, _add(*seconds.values()))


def _choose_sharing(work: Workload) -> tuple[Sharing, int]:
    """Return the first way to hold the table that there are devices for, or else the last, with the fewest devices."""
    least = {sharing: least_devices(work, sharing) for sharing in get_args(Sharing)}
    able: list[tuple[Sharing, int]] = [(sharing, number) for sharing, number in least.items() if number is not None]
    return next((choice for choice in able if choice[1] <= work.devices), able[-1])


def _epoch(work: Workload, costs: Costs, devices: int) -> dict[str, float]:
    """Return the seconds of a training epoch by what they are spent on."""
    walk = work.steps * costs.propagation(work) / devices / work.speed
    draw = costs.draw * work.interactions / work.speed
    whole = costs.epoch_seconds(work, devices)
    return {"propagation": walk, "the triplets' vectors": whole - walk - draw, "drawing triplets": draw}


def _probe(work: Workload, costs: Costs, devices: int) -> dict[str, float]:
    """Return the seconds of an untrained probe: choose an action, cut the table and refit it, rank some users."""
    passes = (1 + 2 * _REFIT_STEPS) / 2  # each refit step goes there and back, as training does; ranking goes once
    return {
        "propagation": passes * costs.propagation(work) / devices / work.speed,
        "ranking": costs.ranking_seconds(work, min(work.users, _PROBED_USERS)) / devices,
        "candidates": work.candidates * costs.candidate / work.speed,
    }


def _times(count: float, parts: Mapping[str, float]) -> dict[str, float]:
    """Multiply seconds by part."""
    return {part: count * seconds for part, seconds in parts.items()}


def _add(*several: Mapping[str, float]) -> dict[str, float]:
    """Add seconds by part."""
    names = dict.fromkeys(part for parts in several for part in parts)
    return {name: sum(parts.get(name, 0.0) for parts in several) for name in names}
