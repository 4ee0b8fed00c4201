"""The callback on its own: it does for any method what a plain loop does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF, Refit, TurnsBasis
from bet_lightning.budget import Budget
from bet_lightning.callbacks import TableSearch, table_search
from bet_lightning.data import RankingBatch
from bet_lightning.methods import BET, UniformSizes
from bet_lightning.methods.base import Problem
from bet_lightning.methods.rules import read_sizes
from bet_lightning.methods.tasks import FULL, Epochs, Outcome, Round, Task
from bet_lightning.modules import FitnessPredictorModule
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables.quantized import QuantizedEmbedding
from bet_lightning.tables.soft_threshold import PrunedTable, SoftThresholdTable
from bet_lightning.training import train_task
from tests.callbacks.conftest import (
    BUDGET,
    Interrupt,
    Rounds,
    Scripted,
    assert_same,
    fit,
    make_data,
    make_module,
    make_trainer,
    run_plainly,
)

DIVERGING = LRSchedule(lr=1e38, decay=1.0, min_lr=1e38)


def pretraining(max_epochs: int = 2, **changes: Any) -> Rounds:
    """A round that trains the full table."""
    return lambda problem, _: Round([replace(problem.full_task(Epochs(max_epochs)), **changes)], shared=True)


def uniform(problem: Problem) -> Allocation:
    """Equal sizes within the budget."""
    return UniformSizes().allocate(problem, problem.budgets[0])


def cut(name: str | None = "cut", epochs: Epochs = Epochs(3), **changes: Any) -> Rounds:
    """A round that goes on from the first outcome, cut to equal sizes."""

    def following(problem: Problem, outcomes: Sequence[Outcome]) -> Round:
        task = Task("retrain", "cut", epochs, name, problem.budgets[0], uniform(problem), weights=outcomes[0].weights)
        return Round([replace(task, **changes)])

    return following


def fresh(name: str | None = "fresh", epochs: Epochs = Epochs(2), **changes: Any) -> Rounds:
    """A round that trains equal sizes from fresh weights."""

    def following(problem: Problem, _: Sequence[Outcome]) -> Round:
        return Round([replace(Task("retrain", "fresh", epochs, name, problem.budgets[0], uniform(problem)), **changes)])

    return following


def soft(epochs: Epochs, share: float = 0.0, **changes: Any) -> Rounds:
    """A round of thresholds that grow with training, until no more than a share of the entries is above them."""

    def following(problem: Problem, _: Sequence[Outcome]) -> Round:
        network = problem.network
        size = (network.num_rows, network.max_size)
        tables = [SoftThresholdTable(*size, "global", -3.0) for _ in network.tables]
        count = share * network.shape.params
        task = Task("tune", "soft", epochs, tables=tables, keep="last", keep_weights=True)
        return Round([replace(task, stop=lambda trained: trained.num_used <= count, **changes)])

    return following


def pruned(problem: Problem, _: Sequence[Outcome]) -> Round:
    """A round of tables with any mask."""
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(problem.network.num_rows, 8, generator=generator) < 0.2 for _ in problem.network.tables]
    tables = [PrunedTable(problem.network.num_rows, 8, mask) for mask in masks]
    return Round([Task("retrain", "pruned", Epochs(2), "pruned", problem.budgets[0], tables=tables)])


def turned(network: Backbone) -> None:
    """A change of what is kept."""
    assert isinstance(network, TurnsBasis)
    network.to_principal_basis()


EVERYTHING = (
    pretraining(2, finish=turned),
    cut(None, Epochs(0), refit=Refit(2), user_share=0.3),  # a probe
    cut(None, Epochs(1), schedule=LRSchedule(0.01), user_share=0.3),
    cut("warm", Epochs(3, patience=1), refit=Refit(2, 0.5), schedule=LRSchedule(0.01)),
    fresh("uniform", Epochs(3, eval_every_n_epochs=2)),
    fresh("packed", Epochs(2), storage="packed"),
    cut("warm", Epochs(1), storage="packed"),  # the better of the two is the result
    soft(Epochs(3), 0.9),
    pruned,
)


@pytest.mark.parametrize("backbone", [MF, LightGCN, NGCF, NeuMF])
def test_every_outcome_is_that_of_a_plain_loop(tmp_path: Path, backbone: type[Backbone]) -> None:
    search, method = Scripted(*EVERYTHING), Scripted(*EVERYTHING)
    module = make_module(backbone)
    callback = fit(tmp_path, search, module=module)
    outcomes, results = run_plainly(method, make_module(backbone))
    assert len(search.outcomes) == len(outcomes) == len(EVERYTHING)
    for found, expected in zip(search.outcomes, outcomes, strict=True):
        assert_same(found, expected)
    assert callback.record
    assert {each.name: each.valid for each in callback.record.results} == {
        name: outcome.metrics for name, outcome in results.items()
    }
    for name, outcome in results.items():
        saved = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        assert all(saved[f"backbone.{key}"].equal(value) for key, value in outcome.weights.items())


def test_an_untrained_table_is_validated_as_it_is(tmp_path: Path) -> None:
    method = Scripted(pretraining(1), cut(epochs=Epochs(0)), cut("shared", Epochs(0), user_share=0.3))
    module, data = make_module(), make_data()
    search = fit(tmp_path, method, module=module, data=data)
    full, *untrained = method.outcomes
    assert [(outcome.epochs, outcome.best_epoch) for outcome in untrained] == [(0, 0), (0, 0)]
    assert module.trainer.global_step == len(data.train_dataloader())  # of pretraining alone
    plain, loader = make_module(), data.val_dataloader()
    plain.build(data.dataset.train)
    plain.network.load_state_dict(full.weights)
    assert search.record
    sizes = [int(line) for line in (tmp_path / "sizes" / "cut.txt").read_text().split()]
    plain.network.set_sizes(torch.tensor(sizes))
    assert plain.recommender.evaluate(loader) == untrained[0].metrics
    loader.share = 0.3
    assert plain.recommender.evaluate(loader) == untrained[1].metrics != untrained[0].metrics


def test_a_method_that_trains_nothing_needs_no_step(tmp_path: Path) -> None:
    module = make_module()
    method = Scripted(pretraining(0), pretraining(0, name="again"))
    search = fit(tmp_path, method, module=module)
    assert module.trainer.global_step == 0
    assert search.record and [result.name for result in search.record.results] == [FULL, "again"]
    assert method.outcomes[0].metrics == method.outcomes[1].metrics


def test_a_method_without_any_round_ends_at_once(tmp_path: Path) -> None:
    module = make_module()
    search = fit(tmp_path, Scripted(), module=module)
    assert module.trainer.global_step == 0 and search.record and search.record.results == ()


def test_a_task_stops_a_training_by_what_it_sees_of_the_backbone(tmp_path: Path) -> None:
    seen: list[int] = []

    def third(network: Backbone) -> bool:
        seen.append(network.num_used)
        return len(seen) == 3

    method = Scripted(pretraining(10, stop=third))
    fit(tmp_path, method)
    assert seen == [140 * 8] * 3 and method.outcomes[0].epochs == 3


def test_a_probe_that_diverges_has_no_metrics_and_the_method_goes_on(tmp_path: Path) -> None:
    rounds = (pretraining(1), cut(None, Epochs(3), schedule=DIVERGING), fresh())
    search, plain = Scripted(*rounds), Scripted(*rounds)
    fit(tmp_path, search)
    outcomes, _ = run_plainly(plain)
    for found, expected in zip(search.outcomes, outcomes, strict=True):
        assert_same(found, expected)
    assert search.outcomes[1].failed and search.outcomes[1].metrics == {} and search.outcomes[1].quality == 0
    assert not search.outcomes[2].failed and search.outcomes[2].epochs == 2


@pytest.mark.parametrize(
    ("rounds", "module", "message"),
    [
        (
            pretraining(2),
            DIVERGING,
            r"pretrain diverged: its loss is \S+ in epoch [12] .* of model.schedule.lr; lower it",
        ),
        (fresh(schedule=DIVERGING), None, r"fresh diverged: .* of search.method.warm_schedule.lr; lower it"),
        (fresh(None, keep_weights=True, schedule=DIVERGING), None, "fresh diverged"),
    ],
)
def test_a_training_that_is_to_be_kept_must_not_diverge(
    tmp_path: Path, rounds: Rounds, module: LRSchedule | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, Scripted(rounds), module=make_module(schedule=module))


@pytest.mark.parametrize("epochs", [(0, 2), (2, 0)])
def test_the_better_of_two_outcomes_is_the_result(tmp_path: Path, epochs: tuple[int, int]) -> None:
    method = Scripted(*(fresh("mine", Epochs(number)) for number in epochs))
    search = fit(tmp_path, method)
    assert search.record
    (result,) = search.record.results
    assert method.outcomes[0].quality != method.outcomes[1].quality
    assert result.quality == max(outcome.quality for outcome in method.outcomes)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    kept = max(method.outcomes, key=lambda outcome: outcome.quality).weights
    assert best["backbone.tables.0.weight"].equal(kept["tables.0.weight"])


def test_a_table_over_its_budget_is_refused(tmp_path: Path) -> None:
    def full(problem: Problem, _: Sequence[Outcome]) -> Round:
        return Round([Task("retrain", "all", Epochs(1), "all", problem.budgets[0])])

    with pytest.raises(ValueError, match="the table has 1120 parameters, over the budget of 280"):
        fit(tmp_path, Scripted(full))


def test_a_method_may_look_at_the_last_task_between_its_rounds(tmp_path: Path) -> None:
    found: list[Any] = []

    def look(problem: Problem, outcomes: Sequence[Outcome]) -> None:
        found.append((problem.evaluate(), problem.evaluate(0.3), problem.network.sizes.tolist(), outcomes[0]))

    data = make_data()
    fit(tmp_path, Scripted(pretraining(2), look, fresh(None, Epochs(1))), data=data)
    ((whole, share, sizes, outcome),) = found
    assert whole == outcome.metrics != share
    assert sizes == [8] * 140


def test_a_stock_trainer_is_not_cut_short(tmp_path: Path) -> None:
    search = TableSearch(BUDGET, Scripted(pretraining(3)), 0)
    with pytest.warns(match="`max_epochs` was not set. Setting it to 1000 epochs"):
        trainer = make_trainer(tmp_path, search, max_epochs=None)
        trainer.fit(make_module(), datamodule=make_data())
    assert trainer.max_epochs == -1 and trainer.current_epoch == 3


@pytest.mark.slow
def test_a_stock_trainer_trains_for_more_than_a_thousand_epochs(tmp_path: Path) -> None:
    method = Scripted(lambda problem, _: Round([problem.full_task(Epochs(1003, eval_every_n_epochs=1003))]))
    data = make_data(synthetic_interactions=400, batch_size=4096)
    with pytest.warns(match="`max_epochs` was not set"):
        fit(tmp_path, method, data=data, module=make_module(MF), enable_checkpointing=False, max_epochs=None)
    assert method.outcomes[0].epochs == 1003


def test_the_trainer_validates_again_when_the_search_is_over(tmp_path: Path) -> None:
    module, data = make_module(), make_data()
    search = TableSearch(BUDGET, Scripted(pretraining(1)), 0)
    trainer = make_trainer(tmp_path, search)
    trainer.fit(module, datamodule=data)
    (metrics,) = trainer.validate(module, data, verbose=False)
    assert search.record and search.record.full
    assert metrics == {f"val/{name}": value for name, value in search.record.full.valid.items()}


def test_training_on_validation_pairs_keeps_the_last_epoch(tmp_path: Path) -> None:
    method = Scripted(lambda problem, _: Round([problem.full_task(Epochs(3, patience=1))]))
    fit(tmp_path, method, data=make_data(train_on_valid=True))
    assert (method.outcomes[0].epochs, method.outcomes[0].best_epoch) == (3, 3)


def test_says_nothing_before_the_data_is_known() -> None:
    search = TableSearch()
    assert search.record is None and search.state_dict() == {}
    assert search.budgets == [Budget(keep_ratio=0.1)] and isinstance(search.method, BET)


def test_budgets_have_short_forms() -> None:
    assert TableSearch("10%").budgets == [Budget(keep_ratio=0.1)]
    assert TableSearch(["2MB", Budget(params=5000)]).budgets == [Budget(bytes="2MB"), Budget(params=5000)]


def test_refuses_budgets_that_are_the_same(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"search.budget needs budgets that differ, got 280 params, 280 params"):
        fit(tmp_path, Scripted(), budget=[BUDGET, Budget(params=280)])


def test_refuses_another_module(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, TableSearch(BUDGET, Scripted()))
    with pytest.raises(TypeError, match="TableSearch trains a RecommenderModule, got FitnessPredictorModule"):
        trainer.fit(FitnessPredictorModule(), datamodule=make_data())


RESUMED = (pretraining(3), fresh(epochs=Epochs(2)), cut("warm", Epochs(2, patience=5), storage="packed"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Outcomes of a run that nothing interrupts."""
    method = Scripted(*RESUMED)
    fit(tmp_path_factory.mktemp("whole"), method)
    return method.outcomes


def interrupted(folder: Path, epoch: int, *rounds: Rounds, **settings: Any) -> None:
    """A run that is broken off."""
    with pytest.raises(InterruptedError):
        fit(folder, Scripted(*rounds), Interrupt(epoch), **settings)


@pytest.mark.parametrize("epoch", range(1, 7))
def test_a_resumed_run_goes_on_with_the_interrupted_training(
    tmp_path: Path, epoch: int, uninterrupted: list[Outcome]
) -> None:
    interrupted(tmp_path, epoch, *RESUMED)
    method = Scripted(*RESUMED)
    module, data = make_module(), make_data()
    search = fit(tmp_path, method, module=module, data=data, resume=True)
    assert module.trainer.current_epoch == 7  # none is trained twice
    for found, expected in zip(method.outcomes, uninterrupted, strict=True):
        assert_same(found, expected)
    assert search.record and [result.name for result in search.record.results] == [FULL, "fresh", "warm"]
    assert read_record(tmp_path) == search.record


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_resumed_training_has_its_own_tables_again(tmp_path: Path, epoch: int) -> None:
    rounds = (soft(Epochs(3)), pruned)
    interrupted(tmp_path, epoch, *rounds)
    method = Scripted(*rounds)
    fit(tmp_path, method, resume=True)
    expected, _ = run_plainly(Scripted(*rounds))
    assert [outcome.epochs for outcome in expected] == [3, 2]
    for found, outcome in zip(method.outcomes, expected, strict=True):
        assert_same(found, outcome)


IN_BYTES = Budget(bytes=600)
OF_LEVELS = (pretraining(1), fresh(epochs=Epochs(2)), cut("warm", Epochs(2, patience=5), storage="packed"))


@pytest.mark.parametrize("backbone", [LightGCN, NeuMF])
def test_a_budget_in_bytes_ends_in_tables_of_levels_within_it(tmp_path: Path, backbone: type[Backbone]) -> None:
    module, data, method = make_module(backbone), make_data(), Scripted(*OF_LEVELS)
    search = fit(tmp_path, method, module=module, data=data, budget=IN_BYTES)
    assert search.record and isinstance(module.network.table(), QuantizedEmbedding)
    full, *others = search.record.results
    assert full.budget is None and [result.name for result in others] == ["fresh", "warm"]
    for result, outcome in zip(others, method.outcomes[1:], strict=True):
        assert result.bytes <= 600
        again = make_module(backbone)
        again.build(data.dataset.train)
        state = torch.load(tmp_path / result.checkpoint, weights_only=True)
        again.use_tables_of(state)
        again.load_state_dict(state["state_dict"])
        assert isinstance(again.network.table(), QuantizedEmbedding)
        assert again.network.num_bytes <= 600
        written = read_sizes(str(tmp_path / "sizes" / f"{result.name}.txt"))
        assert again.network.sizes.tolist() == written.tolist()
        task = Task("probe", "again", Epochs(0), tables=list(again.network.tables), weights=again.network.state_dict())

        def users(share: float) -> Iterable[RankingBatch]:
            return data.val_dataloader()

        measured = train_task(task, again.recommender, data.train_dataloader(), users, 0)
        assert measured.metrics == pytest.approx(outcome.metrics, rel=1e-5)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_resumed_training_of_levels_goes_on_as_if_nothing_had_happened(tmp_path: Path, epoch: int) -> None:
    whole = Scripted(*OF_LEVELS)
    fit(tmp_path / "whole", whole, budget=IN_BYTES)
    interrupted(tmp_path / "part", epoch, *OF_LEVELS, budget=IN_BYTES)
    method = Scripted(*OF_LEVELS)
    fit(tmp_path / "part", method, resume=True, budget=IN_BYTES)
    for found, expected in zip(method.outcomes, whole.outcomes, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("changes", [{"epochs": Epochs(4, patience=4)}, {"storage": "packed"}, {"name": "other"}])
def test_a_training_that_the_method_asks_for_no_more_is_begun_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    interrupted(tmp_path, 4, *RESUMED)  # in the second training
    rounds = (RESUMED[0], fresh(**changes), RESUMED[2])
    method = Scripted(*rounds)
    fit(tmp_path, method, resume=True)
    expected, _ = run_plainly(Scripted(*rounds))
    for found, outcome in zip(method.outcomes, expected, strict=True):
        assert_same(found, outcome)


def test_a_finished_run_has_nothing_to_go_on_with(tmp_path: Path, uninterrupted: list[Outcome]) -> None:
    fit(tmp_path, Scripted(*RESUMED))
    module, method = make_module(), Scripted(*RESUMED)
    search = fit(tmp_path, method, module=module, resume=True)
    assert module.trainer.current_epoch == 7
    assert search.record and len(search.record.results) == 3
    for found, expected in zip(method.outcomes, uninterrupted, strict=True):
        assert_same(found, expected)


UNTRAINED = (pretraining(1), *(cut(f"cut{number}", Epochs(0), refit=Refit(number)) for number in range(4)), fresh())


def breaking(number: int, by: Callable[[], None]) -> list[Rounds]:
    """Untrained rounds, and something that happens before the one of a number is asked for."""

    def broken(problem: Problem, outcomes: Sequence[Outcome]) -> Round | None:
        by()
        return UNTRAINED[number](problem, outcomes)

    return [broken if place == number else each for place, each in enumerate(UNTRAINED)]


def test_rounds_that_need_no_epoch_are_saved_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InterruptedError

    monkeypatch.setattr(table_search, "_SECONDS_BETWEEN", -1.0)
    with pytest.raises(InterruptedError):
        fit(tmp_path, Scripted(*breaking(4, fail)))
    asked: list[int] = []

    def noted(number: int) -> Rounds:
        def following(problem: Problem, outcomes: Sequence[Outcome]) -> Round | None:
            asked.append(number)
            return UNTRAINED[number](problem, outcomes)

        return following

    method, module = Scripted(*map(noted, range(len(UNTRAINED)))), make_module()
    fit(tmp_path, method, module=module, resume=True)
    assert asked == [3, 4, 5]  # what was saved last is the state before the third was told
    expected, _ = run_plainly(Scripted(*UNTRAINED))
    for found, outcome in zip(method.outcomes, expected, strict=True):
        assert_same(found, outcome)


def test_a_process_that_is_told_to_end_saves_between_rounds(tmp_path: Path) -> None:
    with pytest.raises(SIGTERMException):
        fit(tmp_path, Scripted(*breaking(2, lambda: os.kill(os.getpid(), signal.SIGTERM))))
    method = Scripted(*UNTRAINED)
    fit(tmp_path, method, resume=True)
    expected, _ = run_plainly(Scripted(*UNTRAINED))
    for found, outcome in zip(method.outcomes, expected, strict=True):
        assert_same(found, outcome)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": Budget(keep_ratio=0.5)}, r"--ckpt_path: a run with budgets of \[280\] parameters, not \[560\]"),
        ({"data": make_data(seed=1)}, "the checkpoint is of other data or another split, hash"),
        ({"method": UniformSizes()}, "--ckpt_path: a run of the method Scripted, not UniformSizes"),
    ],
)
def test_refuses_to_go_on_under_other_conditions(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    interrupted(tmp_path, 1, pretraining(2))
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, **{"method": Scripted(pretraining(2)), "resume": True, **settings})


def test_refuses_to_go_on_with_a_run_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path, 1, pretraining(2))
    monkeypatch.setattr(table_search, "FORMAT", 99)
    with pytest.raises(ValueError, match="--ckpt_path: a run of another version of bet_lightning"):
        fit(tmp_path, Scripted(pretraining(2)), resume=True)
