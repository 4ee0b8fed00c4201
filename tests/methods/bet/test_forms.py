"""BET where a budget may be spent on the table or on final vectors made of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import LightGCN
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.methods import BET, Problem, Task
from bet_lightning.methods.bet import RetrainSettings
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Outcome, Round
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender
from tests.methods.bet.test_run import EDGES, WIDTH, make_method, play, save_run, told

Favourites = dict[str, int]  # layers of the form that does better, by the name of the budget


def make_problem(state: dict[str, Any] | None = None) -> Problem:
    network = LightGCN(EDGES, WIDTH)
    network.reset_parameters(torch.Generator().manual_seed(1))
    by_form = {
        "table": resolve_budgets([Budget(params=60), Budget(params=40)], network.shape, 0),
        "vectors": resolve_budgets([Budget(params=60), Budget(params=40), Budget(params=30)], network.shape, 1),
    }
    return Problem(Recommender(network, metrics=RankingMetrics((5,))), lambda share: [], by_form, state=state)  # type: ignore[arg-type]


def judged(favourites: Favourites) -> Callable[[Task, Problem], Outcome]:
    """Let tables with so many layers do best, and keep what a task would keep."""

    def judge(task: Task, problem: Problem) -> Outcome:
        network = problem.network
        network.use_masked_tables()
        if task.weights is None:
            network.reset_parameters(torch.Generator().manual_seed(1))
        else:
            network.load_state_dict(task.weights)
        if task.finish:
            task.finish(network)
        assert isinstance(network, LightGCN)
        liked = task.budget is not None and favourites[task.budget.name] == network.num_layers
        weights = {} if task.measures_only else {name: value.clone() for name, value in network.state_dict().items()}
        return Outcome({"recall@5": 0.4 if liked else 0.3}, 1, 1, 0.5, weights=weights)

    return judge


def layers_of(task: Task) -> int:
    assert task.weights is not None
    return int(task.weights["layers"])


def retrained(rounds: list[Round]) -> dict[str, int]:
    """Layers by the name of the result."""
    tasks = [task for each in rounds for task in each.tasks if task.phase == "retrain"]
    return {str(task.name): layers_of(task) for task in tasks}


def without_rules() -> BET:
    return make_method("warm", rules=False)


@pytest.mark.parametrize("favourites", [{"60": 3, "40": 0, "30": 0}, {"60": 0, "40": 3, "30": 0}])
def test_a_budget_goes_to_the_form_whose_probes_are_best(favourites: Favourites) -> None:
    problem = make_problem()
    rounds = play(without_rules(), problem, judge=judged(favourites))
    assert retrained(rounds) == {f"bet@{name}": layers for name, layers in favourites.items()}
    probes = [task for each in rounds for task in each.tasks if task.phase == "probe"]
    assert [layers_of(task) for task in probes] == [3] * 6 + [0] * 9  # three a budget of each form
    smallest = [int(task.allocation.sizes.min()) for task in probes if task.allocation]
    assert 0 in smallest[:6] and min(smallest[6:]) == 1  # nothing rebuilds a row of final vectors
    assert [record.kept for record in problem.journal.records] == ["table"] * 6 + ["vectors"] * 9


def test_the_full_table_is_trained_once_and_its_vectors_score_alike() -> None:
    problem = make_problem()
    rounds = play(without_rules(), problem, judge=judged({"60": 0, "40": 0, "30": 0}))
    assert [each for each in told(rounds) if each[0] == "pretrain"] == [
        ("pretrain", "full", "fresh"),
        ("pretrain", None, "warm"),
    ]
    networks = []
    for part in ("table", "vectors"):
        networks.append(LightGCN(EDGES, WIDTH))
        networks[-1].load_state_dict(problem.state[part]["pretrained"])
    torch.testing.assert_close(networks[1].table()(), torch.cat(networks[0].encode()))  # type: ignore[call-overload]
    assert [network.num_layers for network in networks] == [3, 0]


def test_an_interrupted_run_asks_for_the_same_again() -> None:
    judge = judged({"60": 3, "40": 0, "30": 0})
    whole = play(without_rules(), make_problem(), judge=judge)
    for stop_after in range(len(whole)):
        problem = make_problem()
        play(without_rules(), problem, stop_after=stop_after, judge=judge)
        resumed = make_problem(copy.deepcopy(problem.state))
        following = next(without_rules().run(resumed))
        assert following.key == whole[stop_after].key


def test_fresh_weights_are_for_the_table_alone() -> None:
    rounds = play(make_method("both", rules=False), make_problem(), judge=judged({"60": 3, "40": 0, "30": 0}))
    retrainings = [(name, start) for phase, name, start in told(rounds) if phase == "retrain"]
    assert retrainings == [
        ("bet_fresh@60", "fresh"),
        ("bet_warm@60", "warm"),
        ("bet@40", "warm"),
        ("bet@30", "warm"),
    ]


def test_both_forms_go_on_from_an_earlier_run(tmp_path: Path) -> None:
    judge = judged({"60": 3, "40": 0, "30": 0})
    first = make_problem()
    play(without_rules(), first, judge=judge)
    path = save_run(first, tmp_path / "last.ckpt")
    method = make_method("warm", rules=False, pretrain=PretrainSettings(checkpoint=path))
    problem = make_problem()
    rounds = play(method, problem, judge=judge)
    assert [task.epochs.max_epochs for each in rounds for task in each.tasks if task.phase == "pretrain"] == [0, 0]
    assert retrained(rounds) == {"bet@60": 3, "bet@40": 0, "bet@30": 0}
    assert [len(problem.state[form]["earlier"]) for form in ("table", "vectors")] == [6, 9]


def test_final_vectors_are_not_taken_for_a_table(tmp_path: Path) -> None:
    first = make_problem()
    first.network.to_kept_form("vectors")  # type: ignore[operator]
    path = save_run(first, tmp_path / "full.ckpt")
    method = make_method("warm", rules=False, pretrain=PretrainSettings(checkpoint=path))
    with pytest.raises(ValueError, match=r"full\.ckpt: holds final vectors, no table"):
        next(method.run(make_problem()))


def test_one_form_needs_no_state_of_its_own() -> None:
    network = LightGCN(EDGES, WIDTH, keeps="vectors")
    budgets = {"vectors": resolve_budgets([Budget(params=60)], network.shape, 1)}
    problem = Problem(Recommender(network, metrics=RankingMetrics((5,))), lambda share: [], budgets)  # type: ignore[arg-type]
    assert problem.parts() == [problem]
    rounds = play(
        make_method("warm", rules=False, retrain=RetrainSettings(max_epochs=4, start="warm")),
        problem,
        judge=judged({"60": 0}),
    )
    assert retrained(rounds) == {"bet": 0}
    assert int(problem.state["pretrained"]["layers"]) == 0
