from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from bet_lightning.runs.plots import plots_of
from bet_lightning.runs.style import draw, styles_of


def assert_readable(figure: Figure) -> None:
    """No label of an axis is over another, or beyond the picture."""
    FigureCanvasAgg(figure).draw()
    page = figure.bbox.padded(1)
    for axis in figure.axes:
        for side in (axis.xaxis, axis.yaxis, *(child.xaxis for child in axis.child_axes)):
            low, high = sorted(side.get_view_interval())
            ticks = zip(side.get_majorticklocs(), side.get_majorticklabels(), strict=True)
            texts = [label for at, label in ticks if low <= at <= high] + [side.label]
            boxes = {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}
            for text, box in boxes.items():
                inside = Bbox.intersection(page, box)
                assert inside is not None and inside.extents == pytest.approx(box.extents), text
            overlapping = [names for names in combinations(boxes, 2) if boxes[names[0]].overlaps(boxes[names[1]])]
            assert overlapping == []


def test_many_names_have_styles_of_their_own() -> None:
    styles = styles_of(map(str, range(20)))
    assert len({tuple(style.values()) for style in styles.values()}) == 20
    assert len({style["color"] for style in list(styles.values())[:8]}) == 8
    assert styles_of(["a", "b", "a"]) == {"a": styles["0"], "b": styles["1"]}


def test_the_legend_is_outside_of_data_and_names_what_panels_share_once() -> None:
    def panel(axis: Axes) -> None:
        for name in ("a name", "another $name", "b" * 40):  # names are no formulae
            axis.plot([0, 1], [0, 1], label=name)

    figure = draw([panel, panel])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a name", "another $name", "b" * 40]
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        assert axis.get_window_extent().y0 > legend.get_window_extent().y1


def test_nothing_overlaps_or_is_cut_off_in_plots_of_a_run(finished_run: Path) -> None:
    plots = plots_of(finished_run)
    assert [plot.name for plot in plots] == ["budgets", "sizes", "bytes", "fitness", "predictor", "training"]
    for plot in plots:
        assert_readable(draw(plot.panels, plot.height))
        for panel in plot.panels:
            assert_readable(draw([panel], plot.height))
