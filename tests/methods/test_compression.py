"""What all methods have in common that compress a pre-trained table."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import MF, NeuMF
from bet_lightning.budget import Budget
from bet_lightning.cli import main
from bet_lightning.methods import FullAtBits, MagnitudePruning, OneBit, ProductQuantization
from bet_lightning.methods.compression import Compression
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from tests.conftest import write_config
from tests.methods.compressing import only, run

METHODS: dict[str, Callable[[int], Compression]] = {
    "full_at_bits": lambda epochs: FullAtBits(**only(epochs)),
    "magnitude": lambda epochs: MagnitudePruning(**only(epochs)),
    "one_bit": lambda epochs: OneBit(**only(epochs)),
    "pq": lambda epochs: ProductQuantization("pq", **only(epochs)),
    "opq": lambda epochs: ProductQuantization("opq", **only(epochs)),
    "rq": lambda epochs: ProductQuantization("rq", **only(epochs)),
}


def make(name: str, epochs: int) -> Compression:
    if name in ("pq", "opq", "rq"):
        pytest.importorskip("faiss")
    return METHODS[name](epochs)


@pytest.mark.parametrize("name", METHODS)
def test_pretrains_once_and_trains_a_table_for_each_budget(name: str) -> None:
    found = run(make(name, 2), ["1300B", "2500B"])
    assert list(found.results) == ["full", f"{name}@2500B", f"{name}@1300B"]
    assert [task.phase for task in found.tasks] == ["pretrain", "retrain", "retrain"]
    assert all(outcome.quality > 0 and outcome.weights for outcome in found.results.values())
    assert [found.results[task.name].epochs for task in found.tasks if task.name] == [3, 2, 2]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("backbone", [MF, NeuMF])
def test_stays_within_many_budgets(name: str, backbone: type[MF] | type[NeuMF]) -> None:
    sizes = [1700, 1900, 2300, 2600, 3000, 4100, 5000, 6720] + ([7000, 9000, 13000] if backbone is NeuMF else [])
    if backbone is NeuMF:
        sizes = sizes[3:]  # two tables have twice the codebooks
    found = run(make(name, 0), [f"{size}B" for size in sizes], backbone)  # a table over its budget is an error
    network, last = found.problem.network, found.tasks[-1]
    assert last.budget and last.budget.bytes == min(sizes)
    assert 0 < last.num_bytes(network) <= min(sizes)
    assert len(network.tables) == (2 if backbone is NeuMF else 1)
    assert len(found.results) == len(sizes) + 1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_goes_on_with_the_round_that_was_interrupted(name: str, interrupted: int) -> None:
    budgets = ["1300B", "2500B"]
    whole = run(make(name, 1), budgets)
    state: dict[str, object] = {}
    with pytest.raises(KeyboardInterrupt):
        run(make(name, 1), budgets, state=state, fail_at=interrupted)
    resumed = run(make(name, 1), budgets, state=state)
    assert [task.key for task in resumed.tasks] == [task.key for task in whole.tasks][interrupted - 1 :]
    for result, outcome in resumed.results.items():
        assert outcome.metrics == whole.results[result].metrics


@pytest.mark.parametrize("name", METHODS)
def test_budgets_that_are_too_small_are_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    method = make(name, 0)
    with caplog.at_level(logging.WARNING):
        found = run(method, [2500, 32])
    assert list(found.results) == ["full", f"{name}@2500B"]
    assert "search.budget 32B is too little" in caplog.text and "left out" in caplog.text
    with pytest.raises(ValueError, match=r"search\.budget 32B is too little") as refused:
        run(method, [32])
    smallest = int(str(refused.value).rpartition(" ")[2])
    assert len(run(method, [smallest]).results) == 2
    with pytest.raises(ValueError, match="the smallest feasible"):
        run(method, [smallest - 1])


@pytest.mark.parametrize("name", sorted({*METHODS} - {"magnitude"}))
def test_refuses_a_budget_in_parameters(name: str) -> None:
    with pytest.raises(ValueError, match=r"^\w+ needs search\.budget in bytes, got 0\.5$"):
        run(make(name, 0), ["50%"])


def test_the_basis_is_turned_where_that_is_asked_for() -> None:
    plain, turned = (run(MagnitudePruning(**only(), turned=turned), ["2500B"]) for turned in (False, True))
    energies = [found.pretrained.square().sum(0) for found in (plain, turned)]
    assert energies[1][0] > energies[0].max() and energies[1][-1] < energies[0].min()
    torch.testing.assert_close(
        plain.pretrained @ plain.pretrained.T, turned.pretrained @ turned.pretrained.T, rtol=1e-4, atol=1e-5
    )


def test_learning_rates_follow_what_is_trained() -> None:
    given = LRSchedule(0.5)
    recipe = MF.recipe.warm_schedule
    for method, expected in (
        (MagnitudePruning(**only()), recipe),
        (OneBit(**only()), None),  # signs change at the learning rate from fresh weights
        (OneBit(**only(), warm_schedule=given), given),
    ):
        assert run(method, ["2500B"]).tasks[-1].schedule == expected


@pytest.mark.slow
def test_takes_the_full_table_of_an_earlier_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings: dict[str, Any] = {"pretrain": {"max_epochs": 2}, "train": {"max_epochs": 1}}
    method = {"class_path": "FullAtBits", "init_args": settings}
    main(["fit", "--config", str(write_config(tmp_path, "first", method=method, budget=["2500B"]))])
    first = read_record(tmp_path / "first")
    full, compressed = (str(tmp_path / "first" / result.checkpoint) for result in first.results)
    settings["pretrain"] = {"checkpoint": full}
    method = {"class_path": "OneBit", "init_args": settings}
    main(["fit", "--config", str(write_config(tmp_path, "second", method=method, budget=["2500B"]))])
    second = read_record(tmp_path / "second")
    assert [result.name for result in second.results] == ["full", "one_bit"]
    assert second.results[0].epochs == 0 and second.results[0].valid == first.results[0].valid
    settings["pretrain"] = {"checkpoint": compressed}
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(write_config(tmp_path, "third", method=method, budget=["2500B"]))])
    assert "not a checkpoint of this backbone on this data" in capsys.readouterr().err


def test_names_a_checkpoint_that_is_of_other_data(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"backbone.tables.0.weight": torch.zeros(3, 8)}}, path)
    with pytest.raises(ValueError, match=r"other\.ckpt: not a checkpoint of this backbone on this data"):
        run(OneBit(pretrain=PretrainSettings(checkpoint=str(path))), ["2500B"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FullAtBits", "MagnitudePruning", "OneBit", "ProductQuantization"])
@pytest.mark.parametrize("backbone", ["LightGCN", "NGCF", "NeuMF"])
def test_trains_with_every_backbone_on_the_command_line(name: str, backbone: str, tmp_path: Path) -> None:
    if name == "ProductQuantization":
        pytest.importorskip("faiss")
    method = {"class_path": name, "init_args": {"pretrain": {"max_epochs": 2}, "train": {"max_epochs": 2}}}
    config = write_config(tmp_path, "run", backbone, budget=[{"bytes": 4000}], method=method)
    main(["fit", "--config", str(config)])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    full, compressed = read_record(tmp_path / "run").results
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert f"turned: {str(name == 'OneBit').lower()}" in text  # no default of BET's is taken for it
    assert full.name == "full" and 0 < compressed.bytes <= 4000 < full.bytes
    assert full.test["ndcg@20"] > 0 and compressed.test["ndcg@20"] > 0


def test_budgets_say_nothing_of_dtypes() -> None:
    fixed = run(make("full_at_bits", 0), [Budget(bytes=2500, dtype="fp32")])
    free = run(make("full_at_bits", 0), [Budget(bytes=2500)])
    assert fixed.results["full_at_bits"].metrics == free.results["full_at_bits"].metrics
