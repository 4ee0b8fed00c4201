"""Results side by side."""

from bet_lightning.compare.entries import entries_of
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
