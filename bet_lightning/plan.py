"""``python -m bet_lightning.plan``: what fits where, how long it takes and what holds it up, before anything is built.

Seconds are those of ``costs.json``, which ``python -m tests.benchmarks.costs`` measures on the machine that it runs on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from bet_lightning.budget import parse_bytes
from bet_lightning.planning import BackboneName, Costs, Memory, Plan, Sharing, Workload, least_devices, make_plan

COSTS = Path(__file__).with_name("costs.json")
_BYTE_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIME_UNITS = ((365 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes"))
_SHARED: dict[Sharing, str] = {
    "one": "on one device",
    "columns": "columns (--trainer.strategy columns)",
    "rows": "rows and edges",
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(args: Sequence[str] | None = None) -> int:
    """Print a plan.

    Args:
        args: Arguments (default: those of the process).

    Returns:
        The exit code: 2 if an argument is wrong.
    """
    try:
        work = _parse(args)
        costs = Costs.read(json.loads(COSTS.read_text()), work.backbone)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(describe(make_plan(work, costs))))
    return 0


def describe(plan: Plan) -> list[str]:
    """Return a plan as lines of at most 80 characters."""
    work, held = plan.work, plan.memory
    lines = [
        f"{work.backbone}: {work.users:.3g} users, {work.items:.3g} items, {work.interactions:.3g} interactions,",
        f"{work.size} columns; {_devices(work.devices)} of {_size(work.device_memory)}",
        "",
        "On devices, all together",
        _line("full table as float32", _size(held.table)),
        _line("  with gradient and Adam's state", _size(held.training)),
        _line("  what a step propagates", _size(held.propagation)),
        _line("graph (CSR, both directions)", _size(held.graph)),
        _line("final vectors to rank with", _size(held.vectors)),
        _line("packed table: the budget", f"{_size(work.budget)}, {work.budget / held.table:.2%} of the table"),
        "",
        "In host memory, for each process",
        _line("interactions (int32 CSR)", f"{_size(held.matrix)}, {_size(held.reading)} while they are read"),
        _line("what triplets are drawn from", _size(held.sampler)),
        _line("building the graph, at its peak", _size(held.building)),
        "",
        "Fewest devices that hold all of it while it trains",
        *(_line(how, _least(work, sharing)) for sharing, how in _SHARED.items()),
        "",
        f"Time on {_devices(plan.used)}, without exchange between them",
        *(_line(phase, _duration(seconds)) for phase, seconds in plan.seconds.items()),
        _line("most of it", f"{plan.bottleneck} ({_share(plan):.0%})"),
        *([""] if (limits := limits_of(plan)) else []),
        *limits,
    ]
    return lines


def limits_of(plan: Plan) -> list[str]:
    """Return what stands in the way of a plan, a line each."""
    work, lines = plan.work, []
    if plan.least > work.devices:
        lines.append(f"Too few devices: {plan.least:,} are needed, there are {work.devices:,}.")
    if plan.sharing == "rows":
        lines.append("This package cannot share rows or edges out yet: this is what it would take.")
    if plan.memory.probing > work.device_memory:
        lines.append("This package probes with the full table on one device: no search yet.")
    if work.budget >= plan.memory.table:
        lines.append("The budget holds the full table: nothing has to be cut.")
    if plan.bottleneck == "propagation":
        lines.append(f"An epoch goes through the graph {work.steps:.3g} times: try a larger --batch-size.")
    if plan.bottleneck == "ranking":
        lines.append("Each epoch ends with a validation that ranks all items for all users.")
    return lines


def _least(work: Workload, sharing: Sharing) -> str:
    """Return how many devices hold a table's training in one way, and how full they are."""
    number = least_devices(work, sharing)
    if number is None:
        return "no" if sharing == "one" or work.has_apart_columns else f"no: those of {work.backbone} depend on others"
    return f"{_devices(number)}, {_size(Memory.of(work).a_device(work, sharing, number))} on each"


def _devices(number: int) -> str:
    """Return a number of devices."""
    return f"{number:,} device{'s' if number > 1 else ''}"


def _share(plan: Plan) -> float:
    """Return the share of all seconds that the bottleneck takes."""
    total = sum(plan.parts.values())
    return plan.parts[plan.bottleneck] / total if total else 0.0


def _line(name: str, value: str) -> str:
    """Return a line of a name and its value."""
    return f"  {name:<38}{value}"


def _size(count: float) -> str:
    """Return bytes in a unit in which they are readable."""
    unit, name = next(((unit, name) for unit, name in _BYTE_UNITS if count >= unit), (1, "B"))
    return f"{count / unit:.3g} {name}" if count < 1e18 else f"{count:.2g} B"


def _duration(seconds: float) -> str:
    """Return seconds in hours, and in what is readable."""
    unit, name = next(((unit, name) for unit, name in _TIME_UNITS if seconds >= unit), (1, "seconds"))
    hours = f"{seconds / 3600:,.3g} hours" if 0.01 <= seconds / 3600 < 1e5 else f"{seconds / 3600:.2g} hours"
    return hours if name == "hours" else f"{hours} ({seconds / unit:,.3g} {name})"


def _count(name: str, text: str) -> int:
    """Return a whole number, which may be written as ``1e9``."""
    value = _number(name, text)
    if not value.is_integer():
        raise ValueError(f"{_flag(name)} must be a whole number, got {text!r}")
    return int(value)


def _number(name: str, text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{_flag(name)} must be a number such as 250000 or 1e9, got {text!r}")
    return value


def _bytes(name: str, text: str) -> int:
    """Return a number of bytes."""
    try:
        return parse_bytes(text)
    except ValueError:
        raise ValueError(f"{_flag(name)} must be bytes such as 80GB or 1.5MiB, got {text!r}") from None


def _flag(name: str) -> str:
    """Return the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def _parse(args: Sequence[str] | None) -> Workload:
    """Return what arguments ask for."""
    parser = _Parser(prog="python -m bet_lightning.plan", description=__doc__, allow_abbrev=False)
    for name in ("users", "items", "interactions"):
        parser.add_argument(f"--{name}", required=True, help="how many, as 1e9")
    parser.add_argument("--budget", required=True, help="of the packed table, as 40GB")
    parser.add_argument("--device-memory", default="80GB")
    for name, value in {"devices": 1, "size": 64, "epochs": 20, "probes": 45, "batch-size": 8192}.items():
        parser.add_argument(f"--{name}", default=str(value), help=f"default: {value}")
    parser.add_argument("--backbone", default="LightGCN", help=f"one of {', '.join(get_args(BackboneName))}")
    parser.add_argument("--speed", default="1", help="of a device, in times the measured machine's (default: 1)")
    found = parser.parse_args(args)
    counts = ("users", "items", "interactions", "devices", "size", "epochs", "probes", "batch_size")
    return Workload(
        **{name: _count(name, getattr(found, name)) for name in counts},
        budget=_bytes("budget", found.budget),
        device_memory=_bytes("device_memory", found.device_memory),
        backbone=found.backbone,
        speed=_number("speed", found.speed),
    )


if __name__ == "__main__":
    sys.exit(main())
