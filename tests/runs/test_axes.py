import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from bet_lightning.runs.axes import (
    bytes_label,
    in_bytes,
    in_percent,
    in_popularity,
    in_seconds,
    log_ticks,
    percent,
    with_room,
)


@given(st.floats(1e-6, 1e12), st.floats(1.2, 1e9))
def test_a_logarithmic_axis_has_few_round_ticks(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(ticks) and all(low <= tick <= low * factor for tick in ticks)
    for tick in ticks:  # three digits are enough for any of them
        assert float(f"{tick:.3g}") == pytest.approx(tick, rel=1e-12)


def test_bytes_and_shares_are_written_with_their_unit() -> None:
    assert [bytes_label(each) for each in (0, 500, 2_000, 1.5e6, 2e9)] == ["0 B", "500 B", "2 kB", "1.5 MB", "2 GB"]
    assert [percent(each) for each in (1, 0.175, 0.1 + 0.2, 0.005, 0)] == ["100%", "17.5%", "30%", "0.5%", "0%"]


def labels(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_no_tick_is_a_power_of_ten() -> None:
    figure = Figure()
    in_bytes(figure.subplots().xaxis, [3_000, 40_000])
    assert labels(figure) == ["5 kB", "10 kB", "20 kB", "50 kB"]
    figure = Figure()
    axis = figure.subplots().xaxis
    in_popularity(axis, [0.0, 2.5, 900.0])
    assert labels(figure) == ["0", "1", "10", "100", "1,000"]
    assert axis.axes.get_xlim()[0] < 0  # rows that nobody saw are to be seen


def test_percent_ticks_are_round_in_percent() -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.set_xlim(0.737, 1.046)
    in_percent(axis.xaxis)
    assert {"80%", "100%"} <= set(labels(figure))
    assert all(float(label[:-1]) % 5 == 0 for label in labels(figure))


@pytest.mark.parametrize(
    ("longest", "unit", "last"), [(15.0, "s", "15"), (1_500.0, "min", "25"), (36_000.0, "h", "10")]
)
def test_seconds_have_a_unit_that_suits(longest: float, unit: str, last: str) -> None:
    figure = Figure()
    axis = figure.subplots()
    axis.set_xlim(0, longest)
    assert in_seconds(axis.xaxis, longest) == unit
    assert labels(figure)[0] == "0" and labels(figure)[-1] == last


def test_a_label_without_room_is_left_out() -> None:
    positions = {"40kB": 40.0, "39kB": 39.0, "10kB": 10.0, "1kB": 1.0}
    kept = with_room(positions, 0.8, 50.0, 0.1)
    assert list(kept) == ["40kB", "10kB", "1kB"]
    length = math.log(50 / 0.8)
    spots = sorted(math.log(each) / length for each in kept.values())
    assert all(right - left >= 0.1 for left, right in pairwise(spots))
