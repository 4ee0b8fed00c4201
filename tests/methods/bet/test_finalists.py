import torch

from bet_lightning.methods.bet.action import Action, Draw, RuleDraw
from bet_lightning.methods.bet.families import EvenDraw, PopularityDraw, SpectralDraw
from bet_lightning.methods.bet.finalists import choose_finalists, choose_retrained, choose_rule, rank_probes
from bet_lightning.methods.bet.records import ProbeRecord, TunedRecord
from bet_lightning.methods.bet.settings import Start


def record(iteration: int, draw: Draw, fitness: float = 0.5, budget: str = "0.1") -> ProbeRecord:
    action = Action(torch.tensor([1, 2]), torch.tensor([3, 0]), draw)
    return ProbeRecord(iteration, budget, "greedy", action, 0.4, fitness, {"recall@5": 0.1}, 1.0)


def spectral(iteration: int, user_share: float, evenness: float) -> ProbeRecord:
    return record(iteration, SpectralDraw(user_share, 0.0, evenness))


def popular(iteration: int, user_share: float, distribution: str) -> ProbeRecord:
    return record(iteration, PopularityDraw(user_share, distribution, 1.0, distribution, 1.0))


def iterations(records: list[ProbeRecord], number: int, start: Start) -> list[int]:
    return [chosen.iteration for chosen in choose_finalists(records, number, start)]


def test_what_is_near_a_fitter_one_waits() -> None:
    records = [spectral(0, 0.5, 0.7), spectral(1, 0.52, 0.75), spectral(2, 0.52, 0.1), spectral(3, 0.9, 0.7)]
    assert iterations(records, 3, "warm") == [0, 2, 3]
    assert iterations(records, 9, "warm") == [0, 2, 3, 1]


def test_kinds_take_turns_where_weights_start_fresh() -> None:
    records = [
        *(spectral(i, 0.1 + 0.2 * i, 0.2) for i in range(3)),
        record(3, EvenDraw(0.5, 0.0, 0.999)),
        popular(4, 0.5, "power_law"),
        record(5, EvenDraw(0.8, 0.0, 0.999)),
        popular(6, 0.5, "log_normal"),
        record(7, RuleDraw(0.5, "uniform")),
    ]
    assert iterations(records, 5, "fresh") == [0, 3, 4, 1, 5]  # the sixth, a near one of the paper's, is the last
    assert iterations(records, 5, "warm") == [0, 1, 2, 3, 4]
    assert iterations([], 5, "fresh") == []
    assert 7 not in iterations(records, 9, "warm")  # rules are chosen by themselves


def test_longer_probes_decide_where_there_are_some() -> None:
    records = [spectral(0, 0.1, 0.2), spectral(1, 0.5, 0.2), spectral(2, 0.9, 0.2)]
    tuned = [
        each.with_tuned("warm", TunedRecord(fitness, {}, 1.0))
        for each, fitness in zip(records[:2], (0.3, 0.4), strict=True)
    ]
    chosen = choose_retrained([*tuned, records[2]], 3, "warm", tuned=True)
    assert [each.iteration for each in chosen] == [1, 0]
    assert [each.iteration for each in choose_retrained(tuned, 1, "fresh", tuned=True)] == [0]
    assert [each.iteration for each in choose_retrained(tuned, 2, "warm", tuned=False)] == [0, 1]


def test_budgets_are_ranked_apart_and_the_fittest_rule_is_found() -> None:
    records = [
        record(0, RuleDraw(0.5, "uniform"), 0.4),
        record(1, RuleDraw(0.5, "two_numbers"), 0.6),
        record(2, SpectralDraw(0.5, 0.0, 0.2), 0.5),
        record(3, RuleDraw(0.5, "uniform"), 0.9, budget="0.2"),
    ]
    ranked = rank_probes(records, "0.1")
    assert [each.iteration for each in ranked] == [1, 2, 0]
    rule = choose_rule(ranked)
    assert rule is not None and rule.iteration == 1
    assert choose_rule([records[2]]) is None
    assert [each.iteration for each in choose_retrained(ranked, 5, "warm", tuned=False)] == [2]
