from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bet_lightning.methods.rules import write_sizes
from bet_lightning.runs.curves import CurvePoint
from bet_lightning.runs.folder import sizes_path
from bet_lightning.runs.result_plots import byte_parts, bytes_plot, tradeoff_plot, training_plot
from bet_lightning.runs.style import draw
from bet_lightning.table_format import TableFormat
from tests.runs.test_records import SHAPE, make_record, make_result
from tests.runs.test_style import assert_readable

FULL = replace(make_result("full", None, 0.2), params=1_680, bytes=6_720)


@pytest.mark.parametrize("dtype", ["fp32", "int8", "ternary"])
def test_parts_of_a_table_sum_to_its_bytes(tmp_path: Path, dtype: str) -> None:
    form = TableFormat(dtype)
    sizes = torch.arange(210) % 9
    result = replace(make_result("bet@0.5", "0.5", 0.1), params=int(sizes.sum()), dtype=form.dtype)
    result = replace(result, bytes=form.num_bytes(SHAPE, sizes))
    record = make_record(FULL, result)
    assert byte_parts(tmp_path, record, result) == {"table": result.bytes}  # nothing says which rows have what
    write_sizes(sizes_path(tmp_path, "bet@0.5"), sizes)
    parts = byte_parts(tmp_path, record, result)
    assert sum(parts.values()) == result.bytes and min(parts.values()) > 0
    assert parts["values of users"] == pytest.approx(int(sizes[:120].sum()) * form.bits / 8, abs=4)
    assert parts["values of items"] == pytest.approx(int(sizes[120:].sum()) * form.bits / 8, abs=4)
    parts = byte_parts(tmp_path, record, replace(result, beside=1_000))
    assert parts["beside the table"] == 1_000 and sum(parts.values()) == result.bytes + 1_000
    plot = bytes_plot(tmp_path, record)
    assert plot is not None
    (axis,) = draw(plot.panels).axes
    assert axis.get_xlim()[1] >= result.bytes


def test_a_curve_goes_through_the_tables_of_a_kind_and_the_full_table_is_a_line() -> None:
    half, quarter = (
        replace(make_result(f"bet@{share}", share, value), bytes=num_bytes)
        for share, value, num_bytes in (("0.5", 0.19, 3_000), ("0.25", 0.1, 1_500))
    )
    record = make_record(FULL, half, quarter)
    plot = tradeoff_plot(record)
    assert plot is not None and len(plot.panels) == 1  # not tested yet
    axis = draw(plot.panels).axes[0]
    lines = {str(line.get_label()): line for line in axis.lines}
    assert lines["bet"].get_xydata().tolist() == [[1_500, pytest.approx(0.5)], [3_000, pytest.approx(0.95)]]
    assert list(lines["full table"].get_ydata()) == [1, 1]
    (top,) = axis.child_axes
    assert [label.get_text().splitlines()[0] for label in top.get_xticklabels()] == ["50%", "25%"]
    tested = make_record(*(replace(each, test={"recall@20": 0.1, "ndcg@20": 0.1}) for each in record.results))
    both = tradeoff_plot(tested)
    assert both is not None and len(both.panels) == 2
    assert tradeoff_plot(make_record()) is None and tradeoff_plot(make_record(FULL)) is None


@pytest.mark.parametrize("amounts", [(3_000, 1_000, 300), (3_000, 2_800, 2_600, 1_500, 1_400, 700, 300, 210)])
def test_budgets_are_named_where_there_is_room(amounts: tuple[int, ...]) -> None:
    record = make_record()
    budgets = tuple(replace(record.budgets[0], name=f"{each}B", unit="bytes", bytes=each) for each in amounts)
    results = [replace(make_result(f"bet@{each}B", f"{each}B", 0.1), bytes=each) for each in amounts]
    plot = tradeoff_plot(replace(make_record(FULL, *results), budgets=budgets))
    assert plot is not None
    figure = draw(plot.panels)
    assert_readable(figure)
    (top,) = figure.axes[0].child_axes
    labels = [label.get_text() for label in top.get_xticklabels()]
    crowded = len(amounts) > 3
    assert labels[0] == ("3000B" if crowded else "3000B\n44.6% of full")
    assert len(labels) == len(amounts) or crowded


def test_trainings_have_a_panel_a_phase_and_a_line_each() -> None:
    points = [
        CurvePoint(training, phase, name, epoch, {"recall@20": 0.1 * epoch, "ndcg@20": 0.1 * epoch})
        for training, phase, name in (("a", "pretrain", "full"), ("b", "retrain", "bet"), ("c", "retrain", "bet"))
        for epoch in (2, 1)
    ]
    plot = training_plot(make_record(FULL), points)
    assert plot is not None
    pretrain, retrain = draw(plot.panels).axes
    assert (pretrain.get_title(), retrain.get_title()) == ("pretrain", "retrain")
    assert (len(pretrain.lines), len(retrain.lines)) == (2, 3)  # with the full table's best
    assert retrain.lines[0].get_xydata().tolist() == [[1, pytest.approx(0.5)], [2, pytest.approx(1)]]
    assert training_plot(make_record(FULL), []) is None
