"""What a method asks for and is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bet_lightning.allocation import Allocation
from bet_lightning.methods.bet.settings import TuneSettings
from bet_lightning.methods.tasks import Epochs, Outcome, Task, generator_of
from bet_lightning.tables.soft_threshold import PrunedTable

TASK = Task("retrain", "x", Epochs(3), "x", allocation=Allocation(torch.arange(8)))


@pytest.mark.parametrize(
    "other",
    [
        replace(TASK, phase="tune"),
        replace(TASK, name="y"),
        replace(TASK, weights={}),
        replace(TASK, allocation=Allocation(torch.arange(8).flip(0))),
        replace(TASK, allocation=None),
        replace(TASK, allocation=None, tables=[PrunedTable(8, 4)]),
        replace(TASK, epochs=Epochs(4)),
        replace(TASK, epochs=Epochs(3, patience=1)),
        replace(TASK, storage="packed"),
    ],
    ids=lambda task: task.key,
)
def test_a_task_of_another_training_has_another_key(other: Task) -> None:
    assert other.key != TASK.key


def test_an_equal_task_has_the_same_key_whatever_it_is_called() -> None:
    assert replace(TASK, label="4/9", allocation=Allocation(torch.arange(8))).key == TASK.key


def test_a_task_measures_only_if_nothing_of_it_is_kept() -> None:
    measuring = replace(TASK, name=None)
    assert measuring.measures_only
    assert not TASK.measures_only and not replace(measuring, keep_weights=True).measures_only


def test_quality_is_the_mean_of_all_metrics_and_zero_without_any() -> None:
    assert Outcome({"recall@2": 0.1, "ndcg@2": 0.3, "recall@5": 0.2, "ndcg@5": 0.6}).quality == pytest.approx(0.3)
    assert Outcome({}, failed=True).quality == 0.0


@pytest.mark.parametrize("wrong", [{"max_epochs": -1}, {"patience": 0}, {"eval_every_n_epochs": 0}])
def test_refuses_epochs_out_of_range(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"search.method: {name} must be at least {value + 1}, got {value}"):
        Epochs(**wrong)
    with pytest.raises(ValueError, match=r"search\.method\.tune\.epochs must be at least 1, got 0"):
        TuneSettings(epochs=0)  # settings of a section name their flag


def test_generators_of_one_seed_are_alike_and_independent() -> None:
    first, second = generator_of(5), generator_of(5)
    drawn = torch.rand(3, generator=first)
    assert torch.rand(3, generator=second).equal(drawn) and not torch.rand(3, generator=first).equal(drawn)
