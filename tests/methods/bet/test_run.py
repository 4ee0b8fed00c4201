"""BET as a generator: run without training anything, with made-up qualities."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from bet_lightning.backbones import MF, Edges, LightGCN
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.methods import BET, PopularityFamily, PopularitySizes, Problem, SpectralFamily, Task, UniformSizes
from bet_lightning.methods.base import Journal, Outcome, Round
from bet_lightning.methods.bet import PretrainSettings, ProbeSettings, RetrainSettings, SearchSettings, TuneSettings
from bet_lightning.methods.bet.action import RuleDraw
from bet_lightning.methods.bet.settings import Starts
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender

USERS, ITEMS, WIDTH = 10, 14, 4
GENERATOR = torch.Generator().manual_seed(0)
PAIRS = torch.randint(0, USERS, (60,), generator=GENERATOR), torch.randint(0, ITEMS, (60,), generator=GENERATOR)
EDGES = Edges(*torch.stack(PAIRS).unique(dim=1), USERS, ITEMS)
QUALITIES = {"pretrain": 0.5, "probe": 0.3, "tune": 0.4, "fresh": 0.45, "warm": 0.42}


def make_method(start: Starts = "both", rules: bool = True, **settings: Any) -> BET:
    usual: dict[str, Any] = {
        "family": SpectralFamily(),
        "rules": [UniformSizes(), PopularitySizes(0.0, 0.5, "two_numbers")] if rules else [],
        "pretrain": PretrainSettings(max_epochs=4),
        "search": SearchSettings(num_iterations=3, num_random=1, num_candidates=10, num_updates=2),
        "probe": ProbeSettings(refit_steps=0),
        "tune": TuneSettings(num_actions=2),
        "retrain": RetrainSettings(max_epochs=4, start=start),
    }
    return BET(**(usual | settings))


def make_problem(budgets: Sequence[str] = ("62",), state: dict[str, Any] | None = None, **more: Any) -> Problem:
    network = MF(EDGES, WIDTH)
    network.reset_parameters(torch.Generator().manual_seed(1))
    recommender = Recommender(network, metrics=RankingMetrics((5,)))
    resolved = resolve_budgets([Budget.parse(budget) for budget in budgets], network.shape, 1)
    return Problem(recommender, lambda share: [], resolved, state=state, **more)


def outcome_of(task: Task, problem: Problem) -> Outcome:
    """A made-up outcome: the more parameters users have, the better."""
    start = "fresh" if task.weights is None else "warm"
    users = float(task.allocation.sizes[:USERS].sum()) / 62 if task.allocation else 0.0
    quality = QUALITIES[start if task.phase == "retrain" else task.phase] + 0.01 * users
    weights = (
        {} if task.measures_only else {name: value.clone() for name, value in problem.network.state_dict().items()}
    )
    return Outcome({"recall@5": quality}, 1, 1, 0.5, weights=weights)


def play(
    method: BET, problem: Problem, stop_after: int | None = None, judge: Callable[[Task, Problem], Outcome] = outcome_of
) -> list[Round]:
    """Run a method with made-up outcomes; return the rounds that it asked for, the last one unanswered if stopped."""
    rounds, generator = [], method.run(problem)
    answer: list[Outcome] | None = None
    while stop_after is None or len(rounds) <= stop_after:
        try:
            rounds.append(next(generator) if answer is None else generator.send(answer))
        except StopIteration:
            break
        answer = [judge(task, problem) for task in rounds[-1].tasks]
    return rounds


def told(rounds: Sequence[Round]) -> list[tuple[str, str | None, str]]:
    """Phase, name and start of every task."""
    tasks = [task for each in rounds for task in each.tasks]
    return [(task.phase, task.name, "fresh" if task.weights is None else "warm") for task in tasks]


def test_phases_follow_each_other_from_both_starts() -> None:
    problem = make_problem()
    rounds = play(make_method(), problem)
    assert told(rounds) == [
        ("pretrain", "full", "fresh"),
        *[("probe", None, "warm")] * 5,  # two rules, three actions
        *[("tune", None, "fresh")] * 2,
        *[("tune", None, "warm")] * 2,
        ("retrain", "bet_fresh", "fresh"),
        ("retrain", "two_numbers_fresh", "fresh"),
        ("retrain", "bet_warm", "warm"),
        ("retrain", "two_numbers_warm", "warm"),
    ]
    records = problem.journal.records
    assert [record.strategy for record in records] == ["given", "given", "random", "greedy", "greedy"]
    assert [isinstance(record.draw, RuleDraw) for record in records] == [True, True, False, False, False]
    assert sum(len(record.tuned) for record in records) == 4
    assert rounds[0].shared and not rounds[1].shared and rounds[-1].shared


def test_every_action_is_within_its_budget_and_differs() -> None:
    problem = make_problem(("62", "40"))
    tasks = [task for each in play(make_method(), problem) for task in each.tasks if task.phase == "probe"]
    assert len(tasks) == 2 * 5
    for task in tasks:
        assert task.budget and task.allocation and task.allocation.params == task.budget.params
    assert len({task.allocation.key for task in tasks if task.allocation}) == len(tasks)


def test_fitness_is_relative_to_the_full_table() -> None:
    problem = make_problem()
    play(make_method(), problem)
    for record in problem.journal.records:
        assert record.fitness == record.metrics["recall@5"] / QUALITIES["pretrain"]


def test_the_best_actions_and_the_best_rule_are_retrained() -> None:
    problem = make_problem()
    rounds = play(make_method("warm", tune=TuneSettings(num_actions=0)), problem)
    records = problem.journal.records
    sizes = {
        task.name: task.allocation.sizes for each in rounds for task in each.tasks if task.allocation and task.name
    }
    users = {name: int(each[:USERS].sum()) for name, each in sizes.items()}
    drawn = [record for record in records if not isinstance(record.draw, RuleDraw)]
    assert users["bet"] == round(max(record.draw.user_share for record in drawn) * 62)
    rule = max((record for record in records if isinstance(record.draw, RuleDraw)), key=lambda record: record.fitness)
    assert isinstance(rule.draw, RuleDraw) and users[rule.draw.rule] == round(rule.draw.user_share * 62)


def test_every_budget_has_its_finalists_and_its_results() -> None:
    problem = make_problem(("40", "62"))
    rounds = play(make_method("warm"), problem)
    assert [name for phase, name, _ in told(rounds) if phase == "retrain"] == [
        "bet@62",
        "two_numbers@62",
        "bet@40",
        "two_numbers@40",
    ]
    for budget in ("40", "62"):
        assert sum(bool(record.tuned) for record in problem.journal.records if record.budget == budget) == 2


def test_the_order_of_budgets_is_without_effect() -> None:
    runs = []
    for budgets in (("62", "40", "80"), ("80", "62", "40")):
        problem = make_problem(budgets)
        play(make_method(), problem)
        runs.append([record.as_dict() for record in problem.journal.records])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("family", [SpectralFamily(), PopularityFamily()])
def test_a_run_goes_on_from_its_state_after_any_round(num_ranks: int, family: Any) -> None:
    method = make_method(family=family)
    whole_problem = make_problem(num_ranks=num_ranks)
    whole = play(method, whole_problem)
    for stop in range(len(whole)):
        problem = make_problem(num_ranks=num_ranks)
        play(method, problem, stop_after=stop)
        file = io.BytesIO()
        torch.save(problem.state, file)
        file.seek(0)
        resumed = make_problem(state=torch.load(file, weights_only=True), num_ranks=num_ranks)
        rest = play(method, resumed)
        expected = [[task.key for task in each.tasks] for each in whole[stop:]]
        assert [[task.key for task in each.tasks] for each in rest] == expected, stop
        untimed = [[{**r.as_dict(), "rank": 0} for r in p.journal.records] for p in (whole_problem, resumed)]
        if any(task.phase in ("probe", "tune") for each in whole[stop:] for task in each.tasks):
            assert untimed[0] == untimed[1]


def test_ranks_probe_actions_of_their_own() -> None:
    problem = make_problem(num_ranks=2)
    rounds = play(make_method("warm"), problem)
    counts = [(each.tasks[0].phase, len(each.tasks)) for each in rounds]
    assert counts == [
        ("pretrain", 1),
        ("probe", 2),  # the rules
        ("probe", 2),
        ("probe", 1),
        ("tune", 2),
        ("retrain", 1),
        ("retrain", 1),
    ]
    assert [record.rank for record in problem.journal.records] == [0, 1, 0, 1, 0]
    parallel = replace(make_method("warm").retrain, parallel="actions")
    rounds = play(make_method("warm", retrain=parallel), make_problem(num_ranks=2))
    assert len(rounds[-1].tasks) == 2 and not rounds[-1].shared


def test_only_pretraining_without_anything_to_find() -> None:
    none = SearchSettings(num_iterations=0)
    rounds = play(make_method(rules=False, search=none), make_problem())
    assert told(rounds) == [("pretrain", "full", "fresh")]
    rules = play(make_method("fresh", search=none), make_problem())
    assert told(rules)[-1] == ("retrain", "two_numbers", "fresh")


def test_an_earlier_search_goes_on_for_other_budgets(tmp_path: Any) -> None:
    first = make_problem()
    play(make_method(), first)
    weights = {f"backbone.{name}": value for name, value in first.network.state_dict().items()}
    path = str(tmp_path / "last.ckpt")
    torch.save({"state_dict": weights, "callbacks": {"TableSearch": {"method": first.state}}}, path)
    method = make_method().for_finished_run(path, 2, 0)
    problem = make_problem(("62", "30"))
    rounds = play(method, problem)
    assert told(rounds)[:5] == [("pretrain", "full", "warm"), *[("probe", None, "warm")] * 4]
    assert rounds[0].tasks[0].epochs.max_epochs == 0
    assert [record.iteration for record in problem.journal.records] == [5, 6, 7, 8]  # after the earlier five
    retrained = {task.name: task for each in rounds for task in each.tasks if task.phase == "retrain"}
    assert set(retrained) == {"bet@62", "bet@30"} and retrained["bet@30"].epochs.max_epochs == 0
    # what the earlier search found for the same budget stays a candidate
    before = max(r.fitness for r in first.journal.records if not isinstance(r.draw, RuleDraw))
    users = int(retrained["bet@62"].allocation.sizes[:USERS].sum())  # type: ignore[union-attr]
    assert outcome_of(rounds[1].tasks[0], problem).quality <= 1
    assert (QUALITIES["probe"] + 0.01 * users / 62) / QUALITIES["pretrain"] >= before - 1e-9


def test_refuses_an_earlier_search_of_another_family(tmp_path: Any) -> None:
    first = make_problem()
    play(make_method(family=PopularityFamily()), first)
    path = str(tmp_path / "last.ckpt")
    weights = {f"backbone.{name}": value for name, value in first.network.state_dict().items()}
    torch.save({"state_dict": weights, "callbacks": {"TableSearch": {"method": first.state}}}, path)
    with pytest.raises(ValueError, match="its search was of another family or data"):
        play(make_method(pretrain=PretrainSettings(checkpoint=path)), make_problem())


def test_defaults_follow_the_backbone() -> None:
    light, factors = LightGCN(EDGES, WIDTH, 1), MF(EDGES, WIDTH)
    assert BET().min_size(light) == 0 and BET().min_size(factors) == 1
    assert BET(PopularityFamily()).min_size(light) == 1 and BET(min_size=1).min_size(light) == 1
    with pytest.raises(ValueError, match=r"search\.method\.min_size 0 needs a graph backbone, got MF"):
        BET(min_size=0).min_size(factors)
    with pytest.raises(ValueError, match=r"search\.method\.min_size must be 0 or 1, got 2"):
        BET(min_size=2)
    with pytest.raises(ValueError, match="rules need different names"):
        BET(rules=[UniformSizes(), UniformSizes()])
    with pytest.raises(ValueError, match=r"not full, bet, best, last.*got \['mine_warm'\]"):
        BET(rules=[UniformSizes(name="mine_warm")])


def test_the_journal_is_told_of_every_probe() -> None:
    class Counting(Journal):
        seen: list[tuple[str, int]]

        def take(self, records: Sequence[Any], phase: Any) -> None:
            super().take(records, phase)
            self.seen.append((phase, len(records)))

    journal = Counting()
    journal.seen = []
    play(make_method("warm"), make_problem(journal=journal))
    assert journal.seen == [*(("probe", count) for count in range(1, 6)), ("tune", 5), ("tune", 5)]
    assert journal.best_fitness == max(record.fitness for record in journal.records)
