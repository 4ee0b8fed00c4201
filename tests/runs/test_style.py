from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from bet_lightning.runs.plots import plots_of
from bet_lightning.runs.style import draw, styles_of


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
        for figure in (draw(plot.panels, plot.height), *(draw([panel], plot.height) for panel in plot.panels)):
            FigureCanvasAgg(figure).draw()
            page = figure.bbox.padded(1)
            for axis in figure.axes:
                for side in (axis.xaxis, axis.yaxis, *(child.xaxis for child in axis.child_axes)):
                    low, high = sorted(side.get_view_interval())
                    shown = [
                        label
                        for at, label in zip(side.get_majorticklocs(), side.get_majorticklabels(), strict=True)
                        if low <= at <= high and label.get_text()
                    ]
                    boxes = [each.get_window_extent() for each in (*shown, side.label) if each.get_text()]
                    for box in boxes:
                        assert Bbox.intersection(page, box).extents == pytest.approx(box.extents), plot.name
                    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2)), plot.name
