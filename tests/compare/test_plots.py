from pathlib import Path

import pytest

from bet_lightning.compare.plots import curves, full_quality, tradeoff_plot
from bet_lightning.compare.rows import Row, read_rows
from tests.runs.test_style import assert_readable


def row(method: str, result: str, params: int, ndcg: str, start: str = "") -> Row:
    values = {"data": "small", "backbone": "MF", "method": method, "result": result, "start": start, "seed": "0"}
    budget = "" if result == "full" else str(params / 1000)
    return {**values, "budget": budget, "params": str(params), "recall@20": ndcg, "ndcg@20": ndcg}


ROWS = [
    row("spectral", "full", 1000, "0.3"),
    row("spectral", "bet", 100, "0.2", "fresh"),
    row("spectral", "bet", 100, "0.25", "warm"),
    row("spectral", "bet", 200, "0.28", "warm"),
    row("spectral", "uniform", 100, "0.1"),
    row("uniform", "uniform", 200, "0.15"),
    row("paper", "bet", 100, ""),
]


def test_a_point_is_the_mean_over_seeds_of_the_better_start() -> None:
    assert curves(ROWS) == {"spectral": {0.1: 0.25, 0.2: 0.28}, "uniform": {0.1: 0.1, 0.2: 0.15}}
    other = {**row("uniform", "uniform", 102, "0.3"), "budget": "0.1", "seed": "1"}
    assert curves([*ROWS, other])["uniform"] == pytest.approx({0.101: 0.2, 0.2: 0.15})
    assert full_quality(ROWS) == 0.3
    assert full_quality(ROWS[1:]) is None and curves(ROWS[1:]) == {}


def test_bytes_of_a_deployment_are_those_of_all_of_it() -> None:
    full = {**row("ours", "full", 1000, "0.3"), "bytes": "4000"}
    kept = {**row("ours", "bet", 100, "0.2"), "bytes": "400", "beside": "600", "budget": "1kB"}
    assert curves([full, kept]) == {"ours": {1000.0: 0.2}}


def test_draws_where_there_are_several_budgets() -> None:
    assert tradeoff_plot(ROWS[:3]) is None
    plot = tradeoff_plot(ROWS)
    assert plot
    (axis,) = plot.draw().axes
    assert axis.get_title() == "small, MF"
    assert [line.get_label() for line in axis.lines] == ["spectral", "uniform", "full table"]
    assert axis.lines[0].get_xydata().tolist() == [[0.1, 0.25], [0.2, 0.28]]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["gowalla_lightgcn", "lastfm_mf"])
def test_committed_results_can_be_drawn(name: str, tmp_path: Path) -> None:
    plot = tradeoff_plot(read_rows(Path(__file__).parents[2] / "configs" / "results" / f"{name}.csv"))
    assert plot
    assert_readable(plot.draw())
