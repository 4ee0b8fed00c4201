"""Axes in percent, bytes, seconds and counts: round ticks with their units, few enough to have room."""

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

_LEAST_TICKS, _MOST_TICKS = 3, 6
_STEPS = (1, 2, 2.5, 5, 10)
_WHOLE_STEPS = (1, 2, 5, 10)


def in_percent(axis: Axis) -> None:
    """Label shares in percent: 1 is ``100%``."""
    axis.set_major_locator(_PercentLocator(nbins=5, steps=_STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def in_counts(axis: Axis) -> None:
    """Label whole numbers as such: ``1,000``."""
    axis.set_major_locator(MaxNLocator(5, integer=True, steps=_WHOLE_STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def in_seconds(axis: Axis, longest: float) -> str:
    """Label seconds in a unit that suits the longest; return the unit."""
    unit, factor = next(((name, size) for name, size in (("h", 3600), ("min", 60)) if longest >= 3 * size), ("s", 1))
    ticks = [factor * float(tick) for tick in MaxNLocator(5, steps=_STEPS).tick_values(0, max(longest, 1e-3) / factor)]
    _fix(axis, [tick for tick in ticks if tick <= 1.05 * longest], lambda value: f"{value / factor:g}")
    return unit


def in_bytes(axis: Axis, values: Sequence[float]) -> None:
    """Make an axis logarithmic, with round numbers of bytes and their unit: ``20 kB``.

    Args:
        axis: The horizontal axis.
        values: What is to be seen on it, positive.
    """
    _make_logarithmic(axis, values, bytes_label)


def in_shares(axis: Axis, values: Sequence[float]) -> None:
    """Make an axis logarithmic, with round numbers of percent: see ``in_bytes``."""
    _make_logarithmic(axis, values, percent)


def in_bytes_from_zero(axis: Axis, largest: float) -> None:
    """Give an axis that begins at zero round numbers of bytes and their unit."""
    factor = _byte_unit(largest)[1]
    ticks = MaxNLocator(5, steps=_STEPS).tick_values(0, largest / factor)
    _fix(axis, [factor * float(tick) for tick in ticks], bytes_label)
    axis.axes.set_xlim(0, 1.02 * largest)


def in_popularity(axis: Axis, values: Sequence[float]) -> None:
    """Make an axis of interactions logarithmic from 1 on, with room for 0, and give it round numbers.

    Args:
        axis: The horizontal axis.
        values: What is to be seen on it, at least one.
    """
    low, high = min(values), 1.25 * max(*values, 2.0)
    axis.axes.set_xscale("symlog", linthresh=1.0, linscale=0.3)
    axis.axes.set_xlim(low / 1.25 if low >= 1 else -0.15, high)
    _fix(axis, [0.0] * (low < 1) + log_ticks(max(low / 1.25, 1.0), high), lambda value: f"{value:,g}")


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range of positive numbers for a logarithmic axis: two to six."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,), (1, 1.5, 2, 3, 4, 6, 8)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        within = [tick for tick in ticks if low <= tick <= high]
        if _LEAST_TICKS <= len(within) <= _MOST_TICKS:
            return within
    if len(decades) > _MOST_TICKS:
        return [10.0**decade for decade in decades if low <= 10.0**decade <= high][:: -(-len(decades) // _MOST_TICKS)]
    return [float(tick) for tick in MaxNLocator(4, steps=_STEPS).tick_values(low, high) if low <= tick <= high]


def with_room(positions: Mapping[str, float], low: float, high: float, apart: float) -> dict[str, float]:
    """Return those labels of a logarithmic axis that have room, the first of two that are too near to each other.

    Args:
        positions: Where each label is to be, the most important first.
        low: Where the axis begins.
        high: Where it ends.
        apart: Share of the axis that a label takes.
    """
    length = math.log(high / low)
    kept: dict[str, float] = {}
    for label, position in positions.items():
        if all(abs(math.log(position / other)) >= apart * length for other in kept.values()):
            kept[label] = position
    return kept


def percent(share: float) -> str:
    """Return a share as a label: ``17.5%``."""
    return f"{round(100 * share, 6):.6g}%"


def bytes_label(num_bytes: float) -> str:
    """Return bytes as a label of an axis: ``1.5 MB``."""
    unit, factor = _byte_unit(num_bytes)
    return f"{num_bytes / factor:.4g} {unit}"


def _byte_unit(num_bytes: float) -> tuple[str, float]:
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next(((name, factor) for name, factor in units if num_bytes >= factor), ("B", 1.0))


def _make_logarithmic(axis: Axis, values: Sequence[float], label: Callable[[float], str]) -> None:
    low, high = min(values) / 1.25, max(values) * 1.25
    axis.axes.set(xscale="log", xlim=(low, high))
    _fix(axis, log_ticks(low, high), label)


def _fix(axis: Axis, ticks: Sequence[float], label: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_locator(NullLocator())


class _PercentLocator(MaxNLocator):
    """Shares that are round numbers of percent."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks between two shares."""
        return [float(tick) / 100 for tick in super().tick_values(100 * vmin, 100 * vmax)]
