"""Paired timing: ours, a rival and the floor take turns, so that a drift of the machine hits all of them."""

import contextlib
import ctypes
import gc
import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

Work = Callable[[], object]
LEAST_S = 0.05  # that a floor is timed for: shorter times move by themselves
MAX_UNREST = 0.2  # beyond which the floor of a row moved too much while it was measured


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: What is done.
        d: Columns of the table; 0 where there is none.
        batch: Triplets or users at once; 0 where there are none.
        threads: Threads of every contestant.
        ours_s: Median seconds of ours.
        rival: Who else does it.
        rival_s: Median seconds of the rival; None if it was not run.
        floor_s: Median seconds of the bare kernels that the work cannot do without; None if not defined.
        peak_memory_mb: Resident memory that ours needs at most beyond what was there before, in MB.
        per_s: Units a second of ours, where the work has a natural unit; else None.
        spread: How far apart our fastest and slowest run are, over the median.
        unrest: The same of the floor, or of work that is always the same where there is no floor.
    """

    name: str
    d: int
    batch: int
    threads: int
    ours_s: float
    rival: str
    rival_s: float | None
    floor_s: float | None
    peak_memory_mb: float
    per_s: float | None = None
    spread: float = 0.0
    unrest: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the machine was too busy for the times to be compared."""
        return self.unrest > MAX_UNREST

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the rival ours is; None without a rival, or where the machine was busy."""
        return self.rival_s / self.ours_s if self.rival_s is not None and not self.refused else None

    @property
    def floor_ratio(self) -> float | None:
        """Our time over the floor's; None without a floor, or where the machine was busy."""
        return self.ours_s / self.floor_s if self.floor_s is not None and not self.refused else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values with the ratios."""
        return {**asdict(self), "ratio": self.ratio, "floor_ratio": self.floor_ratio, "refused": self.refused}


def spread_of(seconds: Sequence[float]) -> float:
    """How far apart the fastest and the slowest run are, over their median."""
    return (max(seconds) - min(seconds)) / statistics.median(seconds)


def reference() -> Work:
    """Work that is always the same: a matrix product in cache and a copy beyond it."""
    square, long = torch.ones(512, 512), torch.ones(4_000_000)

    def work() -> None:
        square @ square
        long.clone()

    return work


def paired(contestants: Mapping[str, Work], rounds: int, slow: float = 20.0) -> dict[str, list[float]]:
    """Time contestants in turn and return the seconds of each one's runs.

    Args:
        contestants: Work by name; each is run once before it counts, unless that takes longer than ``slow``.
        rounds: Counted runs of each.
        slow: Seconds above which one run of a contestant is enough.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    enough = set()
    for name, work in contestants.items():
        first = _time(work)
        if first > slow:
            enough.add(name)
            seconds[name].append(first)
    for _ in range(rounds):
        for name, work in contestants.items():
            if name not in enough:
                seconds[name].append(_time(work))
    return seconds


def _repeats(work: Work) -> int:
    """How often work is repeated to last long enough for its times to tell whether the machine was busy."""
    work()
    return math.ceil(LEAST_S / max(_time(work), LEAST_S / 1000))


def _repeated(work: Work, repeats: int) -> Work:
    def run() -> None:
        for _ in range(repeats):
            work()

    return run


def _time(work: Work) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory_mb(work: Work) -> float:
    """Resident memory in MB that work needs beyond what was there before, sampled every 2 ms."""
    process, done, peak = psutil.Process(), threading.Event(), 0
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory resident, and work would seem to need none
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(0.0, (peak - before) / 1e6)


def compare(
    name: str,
    ours: Work,
    rivals: Mapping[str, Work],
    *,
    floor: Work | None = None,
    d: int = 0,
    batch: int = 0,
    threads: int,
    rounds: int,
    units: float | None = None,
) -> list[Row]:
    """One row a rival, all timed in the same turns.

    Args:
        name: What is done.
        ours: Our work.
        rivals: The rivals' work by name.
        floor: The bare kernels of ours.
        d: Columns of the table.
        batch: Triplets or users at once.
        threads: Threads in force.
        rounds: Counted runs.
        units: How many natural units (triplets, actions) one run of ours does.
    """
    steady = floor or reference()
    repeats = _repeats(steady)
    seconds = paired({"": ours, **rivals, "floor": _repeated(steady, repeats)}, rounds)
    medians = {each: statistics.median(times) for each, times in seconds.items()}
    peak = peak_memory_mb(ours)
    base = medians[""]
    per_s = units / base if units else None
    bottom = medians["floor"] / repeats if floor else None
    spread, unrest = spread_of(seconds[""]), spread_of(seconds["floor"])
    shown: list[tuple[str, float | None]] = [(rival, medians[rival]) for rival in rivals] or [("", None)]
    return [
        Row(name, d, batch, threads, base, rival, taken, bottom, peak, per_s, spread, unrest) for rival, taken in shown
    ]
