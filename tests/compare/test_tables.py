"""Results side by side."""

from bet_lightning.compare.entries import entries_of
from bet_lightning.compare.significance import Pair
from bet_lightning.compare.tables import side_by_side


def row(method: str, result: str, budget: str, seed: int, valid: float, test: float) -> dict[str, str]:
    metrics = {"valid_recall@20": valid, "valid_ndcg@20": valid, "recall@20": test, "ndcg@20": test / 2}
    named = {"data": "small", "method": method, "result": result, "budget": budget, "seed": str(seed)}
    return {**named, **{name: f"{value:.6f}" for name, value in metrics.items()}}


AXES = ["data", "method"]
ROWS = [
    row("ours", "full", "", 0, 0.3, 0.4),
    row("ours", "bet", "10%", 0, 0.2, 0.2),
    row("ours", "bet", "10%", 0, 0.25, 0.1),  # better on validation, which alone counts
    row("ours", "bet", "10%", 1, 0.2, 0.3),
    row("ours", "uniform", "5%", 0, 0.1, 0.1),
    {**row("pq_4", "pq", "5%", 0, 0.1, 0.2), "recall@20": ""},  # not tested
]


def test_means_over_seeds_of_what_is_best_on_validation() -> None:
    grid = side_by_side(entries_of(ROWS, AXES), AXES)
    assert grid.header == ["data", "method", "full table", "10%", "5%"]
    assert grid.lines == [
        ["small", "ours", "0.4000 / 0.2000", "0.2000 / 0.1000 ± 0.0707", ""],
        ["small", "uniform", "", "", "0.1000 / 0.0500"],
    ]


def test_markdown_and_latex() -> None:
    grid = side_by_side(entries_of(ROWS, AXES), AXES)
    lines = grid.markdown().splitlines()
    assert lines[0] == "| data | method | full table | 10% | 5% |" and set(lines[1]) == set("| -")
    assert len(lines) == 4 and all(line.count("|") == 6 for line in lines)
    latex = grid.latex().splitlines()
    assert latex[2] == r"data & method & full table & 10\% & 5\% \\"
    assert r"0.1000 $\pm$ 0.0707" in latex[4] and latex[-1] == r"\end{tabular}"


def pair(metric: str, rival: str, p_value: float) -> Pair:
    return Pair(("small",), "5%", metric, "ours", rival, 1872, 0.1, 0.05, 0.15, p_value, p_value, p_value, p_value)


def test_the_best_is_bold_and_what_differs_from_it_has_a_dagger() -> None:
    rows = [row(method, "bet", "5%", 0, 0.1, test) for method, test in (("ours", 0.3), ("near", 0.29), ("far", 0.1))]
    pairs = [pair(metric, *each) for metric in ("recall@20", "ndcg@20") for each in (("near", 0.2), ("far", 0.001))]
    grid = side_by_side(entries_of(rows, AXES), AXES, pairs)
    assert [line[-1] for line in grid.lines] == ["**0.3000** / **0.1500**", "0.2900 / 0.1450", "0.1000† / 0.0500†"]
    assert "paired t-test over 1,872 users" in grid.note and "Holm" in grid.note and "not tested" not in grid.note
    assert grid.markdown().splitlines()[-1] == grid.note
    assert r"ours &  & \textbf{0.3000} / \textbf{0.1500} \\" in grid.latex()
    assert r"0.1000$^\dagger$ / 0.0500$^\dagger$" in grid.latex() and r"\footnotesize" in grid.latex()
    some = side_by_side(entries_of(rows, AXES), AXES, pairs[1:])
    assert "1 of 4 differences are not tested" in some.note
    none = side_by_side(entries_of(rows, AXES), AXES)
    assert none.lines[0][-1] == "**0.3000** / **0.1500**" and none.lines[2][-1] == "0.1000 / 0.0500"
    assert "Differences are not tested" in none.note
