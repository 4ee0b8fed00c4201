"""BET as a generator: run without training anything, with made-up qualities."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from bet_lightning.backbones import MF, Backbone, Edges, LightGCN, Refit
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.methods import (
    BET,
    EvenFamily,
    MixedFamily,
    PopularityFamily,
    PopularitySizes,
    Problem,
    SpectralFamily,
    Task,
    UniformSizes,
    run_method,
)
from bet_lightning.methods.base import Journal
from bet_lightning.methods.bet import ProbeSettings, RetrainSettings, SearchSettings, TuneSettings
from bet_lightning.methods.bet.action import RuleDraw
from bet_lightning.methods.bet.settings import Starts
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Outcome, Round
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender

USERS, ITEMS, WIDTH = 10, 14, 4
GENERATOR = torch.Generator().manual_seed(0)
CELLS = torch.randperm(USERS * ITEMS, generator=GENERATOR)[:50].sort().values
EDGES = Edges(CELLS // ITEMS, CELLS % ITEMS, USERS, ITEMS)
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


def make_problem(
    budgets: Sequence[str] = ("62",),
    state: dict[str, Any] | None = None,
    backbone: Callable[[Edges, int], Backbone] = MF,
    kind: type[Problem] = Problem,
    min_size: int = 1,
    **more: Any,
) -> Problem:
    network = backbone(EDGES, WIDTH)
    network.reset_parameters(torch.Generator().manual_seed(1))
    recommender = Recommender(network, metrics=RankingMetrics((5,)))
    resolved = resolve_budgets([Budget.parse(budget) for budget in budgets], network.shape, min_size)
    return kind(recommender, lambda share: [], resolved, state=state, **more)


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
    generator = method.run(problem)
    rounds: list[Round] = []
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


def test_the_best_outcome_of_each_name_is_a_result() -> None:
    problem = make_problem(("62", "40"))
    method = make_method(retrain=RetrainSettings(num_actions=2, start="both"))
    trained: list[Task] = []

    def train(task: Task) -> Outcome:
        trained.append(task)
        return outcome_of(task, problem)

    results = run_method(method, problem, train)
    kinds = [f"{name}_{start}" for start in ("fresh", "warm") for name in ("bet", "two_numbers")]
    assert set(results) == {"full", *(f"{kind}@{budget}" for kind in kinds for budget in ("62", "40"))}
    for name, outcome in results.items():
        tasks = [task for task in trained if task.name == name]
        assert len(tasks) == (2 if name.startswith("bet") else 1)
        assert outcome.quality == max(outcome_of(task, problem).quality for task in tasks)
        assert all(task.user_share == 1 for task in tasks)


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


def test_probes_are_compared_with_the_full_table_on_their_own_users() -> None:
    class Sharing(Problem):
        def evaluate(self, user_share: float = 1.0) -> dict[str, float]:
            shares.append(user_share)
            return {"recall@5": 0.25}

    shares: list[float] = []
    problem = make_problem(kind=Sharing)
    rounds = play(make_method(probe=ProbeSettings(user_share=0.3, refit_steps=0)), problem)
    assert shares == [0.3]
    for record in problem.journal.records:
        assert record.fitness == record.metrics["recall@5"] / 0.25
    asked = {task.phase: task.user_share for each in rounds for task in each.tasks}
    assert asked == {"pretrain": 1.0, "probe": 0.3, "tune": 0.3, "retrain": 1.0}


def test_an_action_that_failed_is_worth_nothing_and_is_not_retrained() -> None:
    def judge(task: Task, problem: Problem) -> Outcome:
        fails = task.phase == "probe" and task.label in ("probe 3/5", "probe 5/5")
        return Outcome({}, failed=True) if fails else outcome_of(task, problem)

    problem = make_problem()
    rounds = play(make_method("warm", tune=TuneSettings(num_actions=0)), problem, judge=judge)
    records = problem.journal.records
    assert [record.failed for record in records] == [False, False, True, False, True]
    assert [record.fitness for record in records if record.failed] == [0.0, 0.0]
    (probed,) = (task for each in rounds for task in each.tasks if task.label == "probe 4/5")
    (kept,) = (task for each in rounds for task in each.tasks if task.name == "bet")
    assert probed.allocation and kept.allocation and kept.allocation.sizes.equal(probed.allocation.sizes)


def test_longer_probes_decide_which_action_is_retrained() -> None:
    def judge(task: Task, problem: Problem) -> Outcome:
        found = outcome_of(task, problem)
        turned = {"recall@5": 1 - found.metrics["recall@5"]}
        return Outcome(turned) if task.phase == "tune" else found  # the longer probe turns the order around

    problem = make_problem()
    settings = SearchSettings(num_iterations=6, num_random=6, num_candidates=10, num_updates=0)
    rounds = play(make_method("warm", search=settings, tune=TuneSettings(num_actions=3)), problem, judge=judge)
    tuned = [record for record in problem.journal.records if record.tuned]
    assert len({record.draw.user_share for record in tuned}) == 3
    (kept,) = (task for each in rounds for task in each.tasks if task.name == "bet")
    assert kept.allocation
    least = min(record.draw.user_share for record in tuned)
    assert int(kept.allocation.sizes[:USERS].sum()) == round(least * 62)


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
@pytest.mark.parametrize("family", [SpectralFamily(), MixedFamily(), EvenFamily(), PopularityFamily("draws")])
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
        tasks = [[task for each in rounds for task in each.tasks] for rounds in (whole[stop:], rest)]
        for task, again in zip(*tasks, strict=True):
            assert (task.label, task.refit, task.schedule) == (again.label, again.refit, again.schedule)
            for name, value in (task.weights or {}).items():
                assert again.weights is not None and again.weights[name].equal(value)
        assert resumed.state["records"] == whole_problem.state["records"]
        if any(task.phase in ("probe", "tune") for task in tasks[0]):
            records = [[record.as_dict() for record in each.journal.records] for each in (whole_problem, resumed)]
            assert records[0] == records[1]


def test_a_resumed_run_cuts_as_it_did_before() -> None:
    class Rising(Problem):
        asked = 0

        def evaluate(self, user_share: float = 1.0) -> dict[str, float]:
            self.asked += 1
            return {"recall@5": 0.001 * self.asked}  # every power of popularity seems better than the one before

    def light(edges: Edges, width: int) -> Backbone:
        return LightGCN(edges, width, 1)

    method = make_method(probe=ProbeSettings(refit_steps=2))
    problem = make_problem(backbone=light, kind=Rising)
    play(method, problem, stop_after=3)
    rounds = play(method, make_problem(backbone=light, state=problem.state))
    warm, fresh = Refit(2, LightGCN.refit_powers[-1]), Refit()
    assert told(rounds)[0] == ("probe", None, "warm")
    for task in (task for each in rounds for task in each.tasks):
        assert task.refit == (fresh if task.weights is None else warm) and warm != fresh


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


def save_run(problem: Problem, path: Any) -> str:
    """Write what a run's last checkpoint has of its method."""
    weights = {f"backbone.{name}": value for name, value in problem.network.state_dict().items()}
    torch.save({"state_dict": weights, "callbacks": {"TableSearch": {"method": problem.state}}}, path)
    return str(path)


def test_an_earlier_search_goes_on_for_other_budgets(tmp_path: Any) -> None:
    first = make_problem()
    before = play(make_method(), first)
    method = make_method().for_finished_run(save_run(first, tmp_path / "last.ckpt"), 2, 0)
    problem = make_problem(("62", "30"))
    rounds = play(method, problem)
    assert told(rounds)[:5] == [("pretrain", "full", "warm"), *[("probe", None, "warm")] * 4]
    assert rounds[0].tasks[0].epochs.max_epochs == 0
    assert [record.iteration for record in problem.journal.records] == [5, 6, 7, 8]  # after the earlier five
    probed = [
        [task.allocation.key for each in run for task in each.tasks if task.phase == "probe" and task.allocation]
        for run in (before, rounds)
    ]
    assert len({*probed[0], *probed[1]}) == 5 + 4  # what the earlier search probed is not probed again
    retrained = {task.name: task for each in rounds for task in each.tasks if task.phase == "retrain"}
    assert set(retrained) == {"bet@62", "bet@30"} and retrained["bet@30"].epochs.max_epochs == 0


def test_what_an_earlier_search_found_for_a_budget_stays_a_candidate(tmp_path: Any) -> None:
    def judge(task: Task, problem: Problem) -> Outcome:
        return replace(outcome_of(task, problem), metrics={"recall@5": 0.9 if task.phase == "pretrain" else 0.1})

    first = make_problem()
    before = play(make_method("warm"), first)
    path = save_run(first, tmp_path / "last.ckpt")
    method = make_method("warm", pretrain=PretrainSettings(checkpoint=path), tune=TuneSettings(num_actions=6))
    problem = make_problem()
    rounds = play(method, problem, judge=judge)  # whatever is probed now is worse
    tuned = [task for each in rounds for task in each.tasks if task.phase == "tune"]
    assert len(tuned) == 6
    earlier = [record for record in first.journal.records if not isinstance(record.draw, RuleDraw)]
    known = [record for record in problem.journal.records if record.iteration < 5]
    assert [record.iteration for record in known] == [record.iteration for record in earlier]
    assert all("warm" in record.tuned for record in known)
    strategies = [record.strategy for record in problem.journal.records if record.iteration >= 5]
    assert strategies == ["given", "given", "random", "greedy", "greedy"]  # it explores again
    best = max(earlier, key=lambda record: record.fitness)
    (found,) = (task for each in before for task in each.tasks if task.label == f"probe {best.iteration + 1}/5")
    assert tuned[0].allocation and found.allocation and tuned[0].allocation.sizes.equal(found.allocation.sizes)


def test_an_earlier_search_that_left_rows_empty_has_no_candidates_where_none_may_be(tmp_path: Any) -> None:
    def light(edges: Edges, width: int) -> Backbone:
        return LightGCN(edges, width, 1)

    first = make_problem(("30",), backbone=light, min_size=0)
    play(make_method("warm", rules=False), first)
    assert all(record.action.num_filled < USERS + ITEMS for record in first.journal.records)
    pretrain = PretrainSettings(checkpoint=save_run(first, tmp_path / "last.ckpt"))
    for min_size, taken_over in ((0, 3), (1, 0)):
        problem = make_problem(("30",), backbone=light, min_size=min_size)
        rounds = play(make_method("warm", rules=False, pretrain=pretrain), problem)
        assert len(problem.state["earlier"]) == taken_over
        retrained = [task.allocation for task in rounds[-1].tasks if task.phase == "retrain" and task.allocation]
        assert len(retrained) == 1 and int(retrained[0].sizes.min()) >= min_size


def test_refuses_an_earlier_search_of_another_family(tmp_path: Any) -> None:
    first = make_problem()
    play(make_method(family=PopularityFamily()), first)
    path = save_run(first, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="its search was of another family or data"):
        play(make_method(pretrain=PretrainSettings(checkpoint=path)), make_problem())


def test_defaults_follow_the_backbone() -> None:
    light, factors = LightGCN(EDGES, WIDTH, 1), MF(EDGES, WIDTH)
    assert BET().min_size(light, True) == 0 and BET().min_size(light, False) == BET().min_size(factors, False) == 1
    assert BET(PopularityFamily()).min_size(light, True) == 1 and BET(min_size=1).min_size(light, True) == 1
    assert BET(min_size=0).min_size(factors, False) == 0  # where a budget is too small for all rows
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
