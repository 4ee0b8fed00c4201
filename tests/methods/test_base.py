"""How a method is run, and what on, without any training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.data import Csr, RankingBatch, RankingLoader
from bet_lightning.methods.base import Journal, Method, Problem, run_method
from bet_lightning.methods.tasks import Epochs, Outcome, Round, Rounds, Task
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender

EDGES = Edges(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 3, 1, 2]), 3, 5)


class Asking(Method):
    """Asks for given rounds and remembers what it was told."""

    def __init__(self, *rounds: Sequence[Task]) -> None:
        self.rounds = rounds
        self.told: list[Sequence[Outcome]] = []

    def run(self, problem: Problem) -> Rounds:
        for tasks in self.rounds:
            self.told.append((yield Round(tasks)))


def make_problem(budgets: Sequence[str] = ("20",), **more: object) -> Problem:
    network = MF(EDGES, 4)
    recommender = Recommender(network, metrics=RankingMetrics((2,)))
    resolved = resolve_budgets([Budget.parse(budget) for budget in budgets], network.shape, 1)
    return Problem(recommender, lambda share: [], resolved, **more)  # type: ignore[arg-type]


def test_a_method_runs_without_lightning_and_the_best_of_each_name_is_kept() -> None:
    qualities = {"a": 0.2, "b": 0.5, "c": 0.4, "d": 0.9, "e": 0.1, "f": 0.5}
    names = {"a": "one", "b": "one", "c": "one", "d": None, "e": "other", "f": "one"}
    tasks = {label: Task("retrain", label, Epochs(1), name) for label, name in names.items()}
    method = Asking([tasks["a"]], [tasks["b"], tasks["c"], tasks["d"]], [tasks["e"], tasks["f"]])
    trained: list[str] = []

    def train(task: Task) -> Outcome:
        trained.append(task.label)
        return Outcome({"recall@2": qualities[task.label]}, epochs=len(trained))

    results = run_method(method, make_problem(), train)
    assert trained == list("abcdef")
    assert [[outcome.epochs for outcome in told] for told in method.told] == [[1], [2, 3, 4], [5, 6]]
    assert {name: outcome.epochs for name, outcome in results.items()} == {"one": 2, "other": 5}  # ties: the earlier


def test_a_method_that_asks_for_nothing_has_no_results() -> None:
    def train(task: Task) -> Outcome:
        raise AssertionError("nothing was asked for")

    assert run_method(Asking(), make_problem(), train) == {}


def test_names_of_results_end_in_their_budget_where_there_are_several() -> None:
    assert [problem.suffix(problem.budgets[0]) for problem in (make_problem(["20"]), make_problem(["50%"]))] == ["", ""]
    several = make_problem(["12", "50%", "20"])
    assert [several.suffix(budget) for budget in several.budgets] == ["@20", "@0.5", "@12"]


@pytest.mark.parametrize(("by_budget", "first"), [(True, "20"), (False, "cut@20")])
def test_results_are_missing_until_the_next_is_asked_for(by_budget: bool, first: str) -> None:
    problem, names = make_problem(["12", "50%", "20"]), ["cut@20", "cut@0.5", "cut@12"]
    going_on = problem.missing_results("cut", by_budget=by_budget)
    assert [next(going_on)[0], next(going_on)[0]] == names[:2]  # interrupted while the second is trained
    assert problem.state == {"done": [first]}
    missing = list(problem.missing_results("cut", by_budget=by_budget))
    assert missing == list(zip(names, problem.budgets, strict=True))[1:]
    assert list(problem.missing_results("cut", by_budget=by_budget)) == []


def test_a_problem_counts_the_interactions_of_users_and_of_items() -> None:
    users, items = make_problem().frequencies
    assert users.tolist() == [2, 1, 1] and items.tolist() == [1, 1, 1, 1, 0]


def test_evaluates_a_share_of_the_users_as_all_ranks_agree() -> None:
    shares: list[float] = []

    class Fixed(Recommender):
        def evaluate(self, batches: Iterable[RankingBatch]) -> dict[str, float]:
            return {"recall@2": float(len(list(batches)))}

    def users(share: float) -> list[RankingBatch]:
        shares.append(share)
        return []

    recommender = Fixed(MF(EDGES, 4), metrics=RankingMetrics((2,)))
    budget = Budget(params=20).resolve(recommender.network.shape)
    problem = Problem(recommender, users, [budget], agree=lambda found: {**found, "ndcg@2": 0.5})  # type: ignore[arg-type]
    assert problem.evaluate(0.3) == {"recall@2": 0.0, "ndcg@2": 0.5}
    problem.evaluate()
    assert shares == [0.3, 1.0]


def test_validation_pairs_are_those_of_all_users() -> None:
    seen = Csr.from_pairs(np.array([0]), np.array([1]), 3, 5)
    targets = Csr.from_pairs(np.array([0, 2, 2]), np.array([4, 0, 3]), 3, 5)
    recommender = Recommender(MF(EDGES, 4), metrics=RankingMetrics((2,)))
    problem = Problem(recommender, lambda share: RankingLoader(np.array([0, 1, 2]), seen, targets, 2), [])
    users, items = problem.validation_pairs()
    assert users.tolist() == [0, 2, 2] and items.tolist() == [4, 0, 3]


def test_problems_share_neither_state_nor_journal() -> None:
    first, second = make_problem(), make_problem()
    first.state["phase"] = 1
    assert second.state == {} and first.journal is not second.journal
    kept: dict[str, object] = {}
    make_problem(state=kept).state["phase"] = 2
    assert kept == {"phase": 2}  # whoever runs it sees what a method keeps


def test_a_journal_knows_the_best_so_far() -> None:
    class Probe:
        def __init__(self, fitness: float) -> None:
            self.fitness = fitness

    journal = Journal()
    assert journal.best_fitness is None
    journal.take([Probe(0.3), Probe(0.7), Probe(0.5)], "probe")
    assert journal.best_fitness == 0.7


def test_the_full_table_is_a_result_without_budget_or_sizes() -> None:
    task = make_problem().full_task(Epochs(7))
    assert (task.phase, task.name, task.epochs.max_epochs) == ("pretrain", "full", 7)
    assert task.budget is None and task.allocation is None and task.tables is None and task.weights is None


def test_a_finished_run_is_cut_further_only_by_methods_that_can() -> None:
    with pytest.raises(ValueError, match="Asking has no table that other budgets can be cut out of"):
        Asking().for_finished_run("last.ckpt", 4, 0)
