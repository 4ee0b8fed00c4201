"""Paired timing: ours, a rival and the floor take turns, so that a drift of the machine hits all of them."""

import contextlib
import ctypes
import gc
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil

Work = Callable[[], object]


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

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the rival ours is."""
        return self.rival_s / self.ours_s if self.rival_s is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values with the ratio."""
        return {**asdict(self), "ratio": self.ratio}


def paired(contestants: Mapping[str, Work], rounds: int, slow: float = 20.0) -> dict[str, float]:
    """Time contestants in turn and return each one's median seconds.

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
    return {name: statistics.median(times) for name, times in seconds.items()}


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
    contestants = {"": ours, **rivals, **({"floor": floor} if floor else {})}
    medians = paired(contestants, rounds)
    peak = peak_memory_mb(ours)
    base = medians[""]
    per_s = units / base if units else None
    bottom = medians.get("floor")
    shown: list[tuple[str, float | None]] = [(rival, medians[rival]) for rival in rivals] or [("", None)]
    return [Row(name, d, batch, threads, base, rival, taken, bottom, peak, per_s) for rival, taken in shown]
