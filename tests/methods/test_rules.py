from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget, resolve_budgets
from bet_lightning.methods.base import Problem, run_method
from bet_lightning.methods.rules import FileSizes, PopularitySizes, RandomSizes, SizeRule, UniformSizes, write_sizes
from bet_lightning.methods.tasks import Epochs, Outcome, Task
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender
from bet_lightning.table_format import TableFormat, TableShape

USERS, ITEMS = torch.tensor([5, 9, 1, 0]), torch.tensor([7, 3, 2, 2, 1])


@given(
    cap=st.integers(9, 9 * 16),
    rule=st.sampled_from(
        [UniformSizes(), UniformSizes(0.7), RandomSizes(3), PopularitySizes(0.5), PopularitySizes(2.0, 0.9)]
    ),
)
def test_rules_spend_the_cap_exactly(cap: int, rule: SizeRule) -> None:
    sizes = rule.sizes(USERS, ITEMS, cap, 16)
    assert sizes.sum() == cap
    assert sizes.min() >= 1
    assert sizes.max() <= 16


def test_uniform_gives_the_rest_to_the_most_frequent() -> None:
    assert UniformSizes().sizes(USERS, ITEMS, 20, 16).tolist() == [2, 3, 2, 2, 3, 2, 2, 2, 2]


def test_two_whole_numbers() -> None:
    rule = PopularitySizes(exponent=0.0, user_share=0.8)
    assert rule.sizes(USERS, ITEMS, 25, 16).tolist() == [5, 5, 5, 5, 1, 1, 1, 1, 1]


def test_popularity_is_monotone() -> None:
    sizes = PopularitySizes(0.5).sizes(USERS, ITEMS, 50, 16)
    frequency = torch.cat([USERS, ITEMS])
    assert (sizes[frequency.argsort(descending=True, stable=True)].diff() <= 0).all()


def test_random_is_seeded() -> None:
    first, again, other = (RandomSizes(seed).sizes(USERS, ITEMS, 50, 16) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_infeasible_share_moves_to_the_nearest() -> None:
    sizes = UniformSizes(user_share=0.999).sizes(USERS, ITEMS, 30, 16)
    assert sizes[4:].tolist() == [1, 1, 1, 1, 1]


def test_share_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"user_share must be in \(0, 1\), got 1.5"):
        PopularitySizes(user_share=1.5)


def test_file_round_trip(tmp_path: Path) -> None:
    sizes = UniformSizes().sizes(USERS, ITEMS, 20, 16)
    write_sizes(tmp_path / "sizes.txt", sizes)
    assert FileSizes(str(tmp_path / "sizes.txt")).sizes(USERS, ITEMS, 20, 16).equal(sizes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n" * 8, "8 sizes for 9 rows"),
        ("1\n" * 8 + "17\n", "size 17 is not in 1..16"),
        ("1\n" * 8 + "0\n", "size 0 is not in 1..16"),
        ("3\n" * 9, "sum to 27, over the budget of 20"),
        ("one\n", "expected one integer a line"),
        ("1.5\n", "expected one integer a line"),
        ("", "is empty"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        FileSizes(str(path)).sizes(USERS, ITEMS, 20, 16)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt: expected one integer a line"):
        FileSizes(str(tmp_path / "none.txt")).sizes(USERS, ITEMS, 20, 16)


def make_problem(*budgets: str, state: dict[str, object] | None = None) -> Problem:
    network = MF(Edges(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 1]), 3, 4), 4)
    resolved = resolve_budgets([Budget.parse(budget) for budget in budgets], network.shape, 1)
    return Problem(Recommender(network, metrics=RankingMetrics((2,))), lambda share: [], resolved, state=state)


def test_a_rule_is_a_method_of_one_fresh_training_a_budget() -> None:
    tasks: list[Task] = []

    def train(task: Task) -> Outcome:
        tasks.append(task)
        return Outcome({"recall@2": 0.1})

    rule = UniformSizes(train=Epochs(7, patience=3))
    results = run_method(rule, make_problem("9", "21"), train)
    assert list(results) == ["uniform@21", "uniform@9"]
    for task, cap in zip(tasks, (21, 9), strict=True):
        assert task.allocation and task.budget and task.allocation.params == task.budget.params == cap
        assert (task.phase, task.epochs, task.weights) == ("retrain", Epochs(7, patience=3), None)
    assert tasks[0].allocation and tasks[0].allocation.sizes.tolist() == [3] * 7
    assert tasks[1].allocation and tasks[1].allocation.sizes.tolist() == [1, 2, 1, 1, 2, 1, 1]  # the most frequent
    assert list(run_method(PopularitySizes(name="mde"), make_problem("21"), train)) == ["mde"]


def test_a_rule_goes_on_with_the_budget_that_it_was_interrupted_at() -> None:
    state: dict[str, object] = {}
    rounds = UniformSizes().run(make_problem("9", "14", "21", state=state))
    next(rounds)
    rounds.send([Outcome({"recall@2": 0.1})])
    again = UniformSizes().run(make_problem("9", "14", "21", state=dict(state)))
    assert [task.name for following in again for task in following.tasks] == ["uniform@14", "uniform@9"]


@pytest.mark.parametrize("num_bytes", [60, 150, 400, 900])
@pytest.mark.parametrize("rule", [UniformSizes(), PopularitySizes(), RandomSizes()], ids=lambda rule: rule.name)
def test_bytes_that_are_too_few_for_all_rows_go_to_some(rule: SizeRule, num_bytes: int) -> None:
    shape = TableShape(100, 150, 16)
    frequencies = torch.arange(100, 0, -1), torch.arange(150, 0, -1)
    problem = cast(Problem, SimpleNamespace(frequencies=frequencies))
    budget = Budget(bytes=num_bytes).resolve(shape, 0)
    allocation = rule.allocate(problem, budget)
    assert num_bytes - 8 < allocation.num_bytes(shape) <= num_bytes and allocation.params > 0


def test_sizes_of_a_file_that_take_too_many_bytes_are_refused(tmp_path: Path) -> None:
    shape = TableShape(2, 3, 16)
    (tmp_path / "sizes.txt").write_text("16\n2\n8\n0\n4\n")
    rule = FileSizes(str(tmp_path / "sizes.txt"))
    problem = cast(Problem, SimpleNamespace(frequencies=(torch.ones(2), torch.ones(3))))
    taken = TableFormat("int8").num_bytes(shape, torch.tensor([16, 2, 8, 0, 4]))
    fitting = rule.allocate(problem, Budget(bytes=taken, dtype="int8").resolve(shape, 0))
    assert fitting.sizes.tolist() == [16, 2, 8, 0, 4] and fitting.num_bytes(shape) == taken
    with pytest.raises(ValueError, match=f"take {taken} bytes, over the budget of {taken - 1}"):
        rule.allocate(problem, Budget(bytes=taken - 1, dtype="int8").resolve(shape, 0))
