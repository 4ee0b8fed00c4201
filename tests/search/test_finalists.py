from typing import Any

from bet_lightning.search.finalists import choose_finalists


def record(iteration: int, user_share: float, evenness: float, kind: str = "spectral") -> dict[str, Any]:
    return {"iteration": iteration, "user_share": user_share, "evenness": evenness, "user_distribution": kind}


def iterations(records: list[dict[str, Any]], number: int, start: Any) -> list[int]:
    return [chosen["iteration"] for chosen in choose_finalists(records, number, start)]


def test_what_is_near_a_fitter_one_waits() -> None:
    records = [record(0, 0.5, 0.7), record(1, 0.52, 0.75), record(2, 0.52, 0.1), record(3, 0.9, 0.7)]
    assert iterations(records, 3, "warm") == [0, 2, 3]
    assert iterations(records, 9, "warm") == [0, 2, 3, 1]


def test_kinds_take_turns_where_weights_start_fresh() -> None:
    records = [
        *(record(i, 0.1 + 0.2 * i, 0.2) for i in range(3)),
        record(3, 0.5, 0.999, "uniform"),
        record(4, 0.5, 0.0, "power"),
        record(5, 0.8, 0.999, "uniform"),
        record(6, 0.5, 0.0, "pareto"),
    ]
    assert iterations(records, 5, "fresh") == [0, 3, 4, 1, 5]  # the sixth, a near one of the paper's, is the last
    assert iterations(records, 5, "warm") == [0, 1, 2, 3, 4]
    assert iterations([], 5, "fresh") == []
