"""What methods that learn sizes have in common: the budget, and that they go on where they were broken off."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF
from bet_lightning.cli import main
from bet_lightning.methods import ESAPN, AutoEmb, Epochs, Method, OptEmbed
from bet_lightning.methods.evolution import EvolutionSettings
from bet_lightning.runs.folder import read_record
from tests.callbacks.conftest import fit, run_plainly
from tests.conftest import write_config
from tests.methods.compressing import NUM_ROWS, run

EVOLUTION: dict[str, int] = {"generations": 2, "num_mutations": 2, "num_crossovers": 1}
SETTINGS: dict[str, Any] = {
    "ESAPN": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 1}},
    "AutoEmb": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 1}},
    "OptEmbed": {"supernet": {"max_epochs": 2}, "evolution": EVOLUTION, "train": {"max_epochs": 1}},
}
METHODS: dict[str, Method] = {
    "ESAPN": ESAPN(learn=Epochs(2), train=Epochs(1)),
    "AutoEmb": AutoEmb(learn=Epochs(2), train=Epochs(1)),
    "OptEmbed": OptEmbed(Epochs(2), evolution=EvolutionSettings(**EVOLUTION), train=Epochs(1)),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("backbone", [LightGCN, MF, NGCF, NeuMF])
def test_budgets_are_met_exactly(name: str, backbone: type[Backbone]) -> None:
    budgets = ["100%", "50%", "21%", "14%"]
    found = run(METHODS[name], budgets, backbone)
    trained = [task for task in found.tasks if task.phase == "retrain"]
    assert len(trained) == 4
    for task in trained:
        assert task.allocation and task.budget and task.weights is None  # from scratch
        assert task.allocation.params == task.budget.params
        assert task.allocation.sizes.min() >= task.budget.min_size
        assert task.allocation.sizes.max() <= task.budget.shape.width
    ends = ["1", "0.5", "0.21", "0.14"]
    assert list(found.results) == [f"{name.lower()}@{end}" for end in ends]
    assert found.problem.network.num_used == found.problem.budgets[-1].params


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("backbone", "budgets"), [(LightGCN, ["560B", "400B"]), (NeuMF, ["1150B", "900B"])])
def test_budgets_in_bytes_are_spent(name: str, backbone: type[Backbone], budgets: list[str]) -> None:
    found = run(METHODS[name], budgets, backbone)
    trained = [task for task in found.tasks if task.phase == "retrain"]
    for task in trained:
        assert task.allocation and task.budget
        taken = task.allocation.num_bytes(task.budget.shape)
        assert taken <= task.budget.bytes
        assert taken > 0.96 * task.budget.bytes or task.allocation.params == task.budget.shape.params
        assert not task.allocation.form.is_float


@pytest.mark.parametrize("name", METHODS)
def test_every_task_of_an_interrupted_run_is_the_next_of_the_resumed_one(name: str) -> None:
    budgets = ["50%", "25%"]
    whole = run(METHODS[name], budgets)
    keys = [task.key for task in whole.tasks]
    for interrupted in range(1, len(keys) + 1):
        state: dict[str, object] = {}
        with pytest.raises(KeyboardInterrupt):
            run(METHODS[name], budgets, state=state, fail_at=interrupted)
        resumed = run(METHODS[name], budgets, state=state)
        assert [task.key for task in resumed.tasks] == keys[interrupted - 1 :]
        for result, outcome in resumed.results.items():
            assert outcome.metrics == whole.results[result].metrics


@pytest.mark.parametrize("name", METHODS)
def test_a_trainer_trains_them_as_a_plain_loop_does(name: str, tmp_path: Path) -> None:
    _, plain = run_plainly(METHODS[name])
    search = fit(tmp_path, METHODS[name])
    assert search.record is not None
    assert {result.name: result.valid for result in search.record.results} == {
        result: outcome.metrics for result, outcome in plain.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("backbone", ["LightGCN", "NeuMF"])
def test_runs_from_the_command_line(name: str, backbone: str, tmp_path: Path) -> None:
    method = {"class_path": name, "init_args": SETTINGS[name]}
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, method=method))])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    record = read_record(tmp_path / "run")
    assert [(result.name, result.params) for result in record.results] == [(name.lower(), record.budgets[0].params)]
    assert record.results[0].test["ndcg@20"] > 0
    sizes = torch.tensor([int(line) for line in (tmp_path / "run/sizes" / f"{name.lower()}.txt").read_text().split()])
    assert len(sizes) == NUM_ROWS and int(sizes.sum()) == record.budgets[0].params
