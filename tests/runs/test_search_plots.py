from collections.abc import Sequence

import pytest
import torch

from bet_lightning.methods.bet.action import Action, RuleDraw
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.runs.search_plots import fitness_plot, predictor_plot
from bet_lightning.runs.style import draw
from tests.runs.test_records import make_record


def probes(fitness: Sequence[float], predicted: Sequence[float]) -> list[ProbeRecord]:
    """Probes of the first budget, each of two seconds, the third of which fails; and one of the second budget."""
    action = Action.from_sizes(torch.ones(210, dtype=torch.int64), 120, 8, RuleDraw(0.5, "uniform"))
    measured = [
        ProbeRecord(number, "0.5", "mixed", action, guess, value, {}, 2.0, failed=number == 2)
        for number, (value, guess) in enumerate(zip(fitness, predicted, strict=True))
    ]
    return [*measured, ProbeRecord(len(measured), "0.25", "mixed", action, 0.5, 0.4, {}, 2.0)]


def test_the_best_so_far_by_probes_and_by_seconds() -> None:
    plot = fitness_plot(make_record(), probes([0.5, 0.8, 0.0, 0.7, 0.9], [0.5] * 5))
    assert plot is not None
    by_number, by_time = draw(plot.panels).axes
    best = {str(line.get_label()): line for line in by_number.lines}
    assert list(best) == ["best within 50%", "best within 25%"]
    assert best["best within 50%"].get_xydata().tolist() == [[1, 0.5], [2, 0.8], [4, 0.8], [5, 0.9], [6, 0.9]]
    assert best["best within 25%"].get_xydata().tolist() == [[6, 0.4], [6, 0.4]]
    # half a second to begin, then two a probe, also for one that failed
    assert list(by_time.lines[0].get_xdata()) == [2.5, 4.5, 8.5, 10.5, 12.5]
    assert fitness_plot(make_record(), []) is None


def test_predictions_have_their_rank_correlation_and_stay_in_sight() -> None:
    plot = predictor_plot(make_record(), probes([0.5, 0.6, 0.0, 0.7, 0.8], [-40.0, 0.2, 0.9, 0.1, 0.9]))
    assert plot is not None
    figure = draw(plot.panels)
    # ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "exact",
        "50%: rho = 0.80, 4 probes",
        "25%: rho = undefined, 1 probes",
    ]
    (axis,) = figure.axes
    shown = axis.collections[0].get_offsets()
    assert shown[:, 0].min() == pytest.approx(0.2)  # measured 0.4 to 0.8, and half of that below
    assert shown[:, 1].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert predictor_plot(make_record(), []) is None
