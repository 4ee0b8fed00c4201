from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from bet_lightning.search import BudgetedSearch, SpectralPredictor, SpectralSampler, Spectrum, TrainingPlan

USERS, ITEMS, WIDTH, CAP = 10, 14, 4, 60
ORDERS = torch.arange(USERS), torch.arange(ITEMS)


def make_search(caps: Iterable[int] = (CAP,), min_size: int = 1) -> BudgetedSearch:
    energy = torch.rand(USERS + ITEMS, WIDTH, generator=torch.Generator().manual_seed(0))
    sampler = SpectralSampler(Spectrum(energy, torch.ones(USERS + ITEMS), USERS), CAP, min_size)
    users, items = sampler.tails
    samplers = [sampler.with_cap(cap) for cap in caps]
    return BudgetedSearch(samplers, SpectralPredictor(users.features, items.features, WIDTH), num_candidates=5)


def make_plan(budgets: Mapping[int, str] = MappingProxyType({CAP: "bet"}), **settings: Any) -> TrainingPlan:
    usual: dict[str, Any] = {
        "num_iterations": 3,
        "probe_epochs": 0,
        "num_tuned": 2,
        "tune_epochs": 2,
        "num_retrain": 1,
        "retrain_init": "both",
        "max_epochs": 4,
        "eval_every_n_epochs": 1,
        "patience": 9,
    }
    rules = [("uniform", torch.full((USERS + ITEMS,), 2), CAP)]
    return TrainingPlan(ORDERS, budgets, rules, max_size=WIDTH, **(usual | settings))


def run(plan: TrainingPlan, qualities: dict[str, float], resume_at: int | None = None) -> list[tuple[str, str, str]]:
    """Go through a plan with made-up qualities by phase or start; tell phase, name and start of every training."""
    trainings = []
    while True:
        trial = plan.trial
        trainings.append((trial.phase, trial.name, trial.start))
        trial.epoch = trial.max_epochs
        users = float(trial.sizes[:USERS].sum()) / CAP
        found = qualities[trial.start if trial.phase == "retrain" else trial.phase] + 0.01 * users
        trial.record({"recall@5": found}, {"recall@5": found}, {"weight": torch.tensor(found)})
        if trial.phase == "pretrain":
            plan.begin_search(make_search(plan.budgets))
        plan.take(0)
        following = plan.advance()
        if len(trainings) == resume_at:
            file = io.BytesIO()
            torch.save(plan.state_dict(), file)
            file.seek(0)
            plan.load_state_dict(
                torch.load(file, weights_only=True), make_search(plan.budgets) if plan.search else None
            )
        if following is None:
            return trainings


QUALITIES = {"pretrain": 0.5, "probe": 0.3, "tune": 0.4, "fresh": 0.45, "warm": 0.42}


def test_two_rungs_and_both_starts() -> None:
    plan = make_plan()
    assert run(plan, QUALITIES) == [
        ("pretrain", "full", "fresh"),
        *[("probe", "probe", "warm")] * 3,
        *[("tune", "tune", "fresh")] * 2,
        *[("tune", "tune", "warm")] * 2,
        ("retrain", "bet", "fresh"),
        ("retrain", "bet", "warm"),
        ("retrain", "uniform", "fresh"),
        ("retrain", "uniform", "warm"),
    ]
    tuned = [record for record in plan.records if "tuned" in record]
    assert len(tuned) == 2
    assert min(r["fitness"] for r in tuned) >= min(r["fitness"] for r in plan.records)
    assert plan.best["bet"] == plan.best["bet_fresh"] > plan.best["bet_warm"]
    assert plan.training_names(["bet"]) == ["bet_fresh", "bet_warm"]
    assert plan.epochs_left == 0 + 1  # of the last training, at least one epoch is shown


def test_every_budget_has_its_finalists_and_its_result() -> None:
    budgets = {CAP: "bet", CAP // 2: "bet@0.3"}
    plan = make_plan(budgets, num_iterations=6, num_tuned=2, retrain_init="warm")
    trainings = run(plan, QUALITIES, resume_at=8)
    assert [phase for phase, _, _ in trainings] == ["pretrain", *["probe"] * 6, *["tune"] * 4, *["retrain"] * 3]
    assert [name for _, name, _ in trainings[-3:]] == ["bet", "bet@0.3", "uniform"]
    assert [record["params"] for record in plan.records] == [CAP, CAP // 2] * 3
    for cap in budgets:
        assert sum("tuned" in record for record in plan.records if record["params"] == cap) == 2
    assert plan.best_fitness == max(record["fitness"] for record in plan.records[::2])


def test_fitness_is_relative_to_the_full_table_on_the_probes_users() -> None:
    plan = make_plan(num_tuned=0, retrain_init="fresh")
    run(plan, QUALITIES)
    for record in plan.records:
        assert record["fitness"] == record["metrics"]["recall@5"] / plan.full_quality


def test_a_resumed_plan_goes_on_alike() -> None:
    whole = make_plan()
    trainings = run(whole, QUALITIES)
    for stop in range(1, len(trainings)):
        resumed = make_plan()
        assert run(resumed, QUALITIES, resume_at=stop) == trainings
        assert resumed.records == whole.records


def test_rules_alone_are_pretrained_only_to_start_warm() -> None:
    fresh = run(make_plan(rules_only=True, retrain_init="fresh"), QUALITIES)
    assert fresh == [("retrain", "uniform", "fresh")]
    warm = run(make_plan(rules_only=True, retrain_init="warm"), QUALITIES)
    assert warm == [("pretrain", "full", "fresh"), ("retrain", "uniform", "warm")]


def test_earlier_probes_of_a_budget_stay_candidates() -> None:
    plan = make_plan(num_iterations=2, retrain_init="warm", num_tuned=4)
    earlier = make_search()
    for fitness in (0.9, 0.8):
        earlier.observe(earlier.propose(), fitness)
    search = make_search()
    search.go_on_from(earlier.state_dict())
    plan.trial.record({"recall@5": 0.5}, {"recall@5": 0.5}, {})
    plan.begin_search(search, 2.0)
    trainings = []
    plan.take(0)
    while (trial := plan.advance()) is not None:
        trial.epoch = trial.max_epochs
        trial.record({"recall@5": 0.3}, {"recall@5": 0.3}, {})
        plan.take(0)
        trainings.append((trial.phase, trial.sizes))
    assert [phase for phase, _ in trainings] == [*["probe"] * 2, *["tune"] * 4, "retrain", "retrain"]
    assert [record["iteration"] for record in plan.records] == [2, 3]
    assert all("tuned" in record for record in plan.earlier)
    assert trainings[2][1].equal(search.probed[0][0].action.sizes(*ORDERS))


def test_earlier_probes_that_leave_rows_empty_are_no_candidates_where_none_may_be() -> None:
    earlier = make_search(min_size=0)
    earlier.observe(earlier.propose(), 0.9)
    assert earlier.probed[0][0].action.num_filled < USERS + ITEMS
    search = make_search()
    search.go_on_from(earlier.state_dict())
    plan = make_plan()
    plan.trial.record({"recall@5": 0.5}, {"recall@5": 0.5}, {})
    plan.begin_search(search)
    assert search.probed and not plan.earlier and not search.leaders(search.samplers[0])


def test_the_search_begins_warm_where_anything_does() -> None:
    assert make_plan(retrain_init="fresh").starts_warm
    assert make_plan(num_iterations=0, retrain_init="both").starts_warm
    assert not make_plan(num_iterations=0, retrain_init="fresh").starts_warm
