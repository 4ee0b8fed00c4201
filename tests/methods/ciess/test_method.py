"""CIESS from its full table to its result, on tiny data."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.cli import main
from bet_lightning.methods import CIESS, Epochs, Outcome, Problem, Task, run_method
from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.objectives import BPR
from bet_lightning.recommender import Recommender
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from bet_lightning.training import train_task
from tests.conftest import write_config
from tests.methods.compressing import tiny_data

SETTINGS = {"num_episodes": 2, "num_iterations": 2, "probe_epochs": 2, "num_actions": 2}
AGENT = {"hidden": 8, "batch_size": 64}


def run(
    budgets: list[str], state: dict[str, Any] | None = None, fail_at: int = -1
) -> tuple[dict[str, Outcome], list[Task], Problem]:
    """Run it without Lightning; a training may be interrupted, by its number."""
    data = tiny_data()
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    recommender = Recommender(MF(edges, 8), BPR(), 1e-4, LRSchedule(0.03))
    resolved = resolve_budgets([Budget.parse(budget) for budget in budgets], recommender.network.shape, 1)
    problem = Problem(recommender, lambda share: limited(share), resolved, seed=3, state=state)
    tasks = list[Task]()

    def limited(share: float) -> Any:
        loader = data.val_dataloader()
        loader.share = share
        return loader

    def train_once(task: Task) -> Outcome:
        tasks.append(task)
        if len(tasks) - 1 == fail_at:
            raise KeyboardInterrupt
        return train_task(task, recommender, data.train_dataloader(), limited, 3)

    method = CIESS(**SETTINGS, agent=AgentSettings(**AGENT), pretrain=PretrainSettings(max_epochs=3), train=Epochs(2))
    return run_method(method, problem, train_once), tasks, problem


def test_every_action_spends_the_budget_and_the_best_are_retrained() -> None:
    results, tasks, problem = run(["25%", "20%"])
    assert [task.phase for task in tasks] == ["pretrain", *(["probe"] * 4 + ["retrain"] * 2) * 2]
    assert list(results) == ["full", "ciess@0.25", "ciess@0.2"]
    for budget, own in zip(problem.budgets, (tasks[1:7], tasks[7:]), strict=True):
        allocations = [task.allocation for task in own]
        assert all(allocation is not None and allocation.params == budget.params for allocation in allocations)
        probed = {allocation.key for allocation in allocations[:4] if allocation}
        assert len(probed) > 1 and {allocation.key for allocation in allocations[4:] if allocation} <= probed
    assert all(task.weights is None for task in tasks)  # fresh
    assert problem.state["searches"] == {}


def test_users_are_measured_one_by_one() -> None:
    _, _, problem = run(["25%"])
    metrics, by_user = problem.evaluate(), problem.evaluate_users()
    assert len(by_user) == problem.network.num_users
    assert float(by_user.nanmean()) == pytest.approx(sum(metrics.values()) / len(metrics))
    users, items = problem.interactions()
    train = tiny_data().dataset.train
    assert {*zip(users.tolist(), items.tolist(), strict=True)} <= {
        *zip(train.rows().tolist(), train.indices.tolist(), strict=True)
    }
    assert {*users.tolist()} == {*(~by_user.isnan()).nonzero().squeeze(1).tolist()}


@pytest.mark.parametrize("fail_at", [0, 1, 3, 5, 6, 9])
def test_an_interrupted_round_is_asked_for_again(fail_at: int) -> None:
    whole, tasks, _ = run(["25%", "20%"])
    state: dict[str, Any] = {}
    with pytest.raises(KeyboardInterrupt):
        run(["25%", "20%"], state, fail_at)
    rest, resumed, _ = run(["25%", "20%"], state)
    assert [task.key for task in resumed] == [task.key for task in tasks[fail_at:]]
    assert rest["ciess@0.2"].metrics == whole["ciess@0.2"].metrics


def test_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"search.method.num_episodes must be at least 1, got 0"):
        CIESS(num_episodes=0)
    with pytest.raises(ValueError, match=r"search.method.penalty must be at least 0, got -0.1"):
        CIESS(penalty=-0.1)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["LightGCN", "MF", "NGCF", "NeuMF"])
def test_trains_with_every_backbone(backbone: str, tmp_path: Path) -> None:
    short = {"pretrain": {"max_epochs": 2}, "train": {"max_epochs": 2}, "agent": AGENT}
    method = {"class_path": "CIESS", "init_args": SETTINGS | short}
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, method=method))])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    record = read_record(tmp_path / "run")
    full, found = record.results
    assert (full.name, found.name) == ("full", "ciess") and found.params == record.budgets[0].params
    assert found.test["ndcg@20"] > 0
