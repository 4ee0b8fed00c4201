"""Whole runs of BET from the command line, and what they leave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import LightGCN
from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule
from bet_lightning.methods.bet.families import EvenDraw, PopularityDraw, SpectralDraw
from bet_lightning.methods.rules import read_sizes
from bet_lightning.modules import RecommenderModule
from bet_lightning.objectives import BPR
from bet_lightning.ranking import quality
from bet_lightning.runs.folder import read_probes, read_record
from bet_lightning.runs.records import ResultRecord
from tests.conftest import SPECTRAL, TINY, UNIFORM, write_config

WARM: dict[str, Any] = {
    "family": SPECTRAL,
    "probe": {"epochs": 0},
    "retrain": {"num_actions": 1, "start": "warm"},
    "rules": [],
}


def result_of(folder: Path, name: str) -> ResultRecord:
    """A result of a run."""
    found = read_record(folder).result(name)
    assert found
    return found


def full_table(folder: Path, **settings: Any) -> tuple[RecommenderModule, InteractionDataModule]:
    """A module with a run's full table, and its data."""
    data = InteractionDataModule(**TINY["data"]["init_args"] | settings)
    data.setup("fit")
    module = RecommenderModule(lambda edges: LightGCN(edges, 8, num_layers=1), objective=BPR())
    module.build(data.dataset.train)
    module.load_state_dict(torch.load(folder / "checkpoints" / "full.ckpt", weights_only=True)["state_dict"])
    return module, data


def method_state(folder: Path) -> dict[str, Any]:
    """What the method kept in a run's last checkpoint."""
    callbacks = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = (value["method"] for key, value in callbacks.items() if key.startswith("TableSearch"))
    return dict(state)


@pytest.mark.slow
def test_fitness_is_relative_to_the_full_table(tmp_path: Path) -> None:
    config = write_config(tmp_path, "run", probe={"user_share": 1.0}, search={"num_iterations": 2})
    main(["fit", "--config", str(config)])
    full = result_of(tmp_path / "run", "full").valid
    denominator = sum(full.values()) / len(full)
    for record in read_probes(tmp_path / "run" / "actions.jsonl"):
        reached = sum(record.metrics.values()) / len(record.metrics)
        assert record.fitness == pytest.approx(reached / denominator, rel=1e-9)


@pytest.mark.slow
def test_probes_rank_a_share_of_the_users_and_are_compared_on_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search": {"num_iterations": 1}, "probe": {"user_share": 0.5}}
    config = write_config(tmp_path, "run", retrain={"num_actions": 1, "max_epochs": 1}, **settings)
    main(["fit", "--config", str(config), "--data.init_args.eval_batch_size", "16"])
    module, data = full_table(tmp_path / "run", eval_batch_size=16)
    batches = list(data.val_dataloader())
    full = quality(module.recommender.evaluate(batches[: math.ceil(len(batches) / 2)]))
    (record,) = read_probes(tmp_path / "run" / "actions.jsonl")
    assert record.fitness == pytest.approx(quality(record.metrics) / full, rel=1e-6)
    assert full != pytest.approx(result_of(tmp_path / "run", "full").quality, rel=1e-3)  # which is on all users


@pytest.mark.slow
def test_strategies_follow_the_paper_after_the_rules(finished_run: Path) -> None:
    strategies = [record.strategy for record in read_probes(finished_run / "actions.jsonl")]
    assert strategies == ["given", "greedy", "greedy", "greedy", "random"]


@pytest.mark.slow
def test_state_holds_population_predictor_and_pretrained_weights(finished_run: Path) -> None:
    state = method_state(finished_run)
    assert len(state["search"]["probed"]) == 5
    assert {"predictor", "optimizer", "sampler_generator", "selection_generator"} <= state["search"].keys()
    full = torch.load(finished_run / "checkpoints" / "full.ckpt", weights_only=True)["state_dict"]
    assert state["pretrained"]["tables.0.weight"].equal(full["backbone.tables.0.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["SpectralFamily", "MixedFamily"])
def test_search_without_training(tmp_path: Path, family: str) -> None:
    settings: dict[str, Any] = {"tune": {"num_actions": 2}, "retrain": {"num_actions": 1, "start": "both"}}
    config = write_config(
        tmp_path, "run", family={"class_path": family}, probe={"epochs": 0}, rules=[UNIFORM], **settings
    )
    main(["fit", "--config", str(config)])
    given, *records = read_probes(tmp_path / "run" / "actions.jsonl")
    kinds = [type(record.draw) for record in records]
    if family == "SpectralFamily":  # the fourth iteration draws two whole numbers
        assert kinds == [SpectralDraw] * 3 + [EvenDraw]
    else:
        assert kinds == [SpectralDraw, PopularityDraw] * 2
    assert given.strategy == "given" and not given.tuned
    for start in ("fresh", "warm"):
        assert len([record for record in records if start in record.tuned]) == 2
    run = read_record(tmp_path / "run")
    names = {f"{name}_{start}" for name in ("bet", "uniform") for start in ("fresh", "warm")}
    assert {result.name for result in run.results} == names | {"full"}
    assert {result.params for result in run.results if result.name != "full"} == {run.budgets[0].params} == {420}
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    winner = max((result for result in run.results if result.name != "full"), key=lambda result: result.quality)
    own = torch.load(tmp_path / "run" / winner.checkpoint, weights_only=True)["state_dict"]
    assert best["backbone.tables.0.weight"].equal(own["backbone.tables.0.weight"])
    assert 0 < run.search.seconds_to_begin < run.search.seconds


@pytest.mark.draws
@pytest.mark.slow
def test_several_budgets_from_one_pretraining_and_one_search(tmp_path: Path) -> None:
    budgets = [{"keep_ratio": 0.25}, {"keep_ratio": 0.5}]
    settings = WARM | {"rules": [UNIFORM], "search": {"num_iterations": 2}}
    main(["fit", "--config", str(write_config(tmp_path, "run", budget=budgets, **settings))])
    run = read_record(tmp_path / "run")
    caps = {"0.5": 840, "0.25": 420}  # of 210 rows x 8, the largest first
    assert {budget.name: budget.params for budget in run.budgets} == caps
    params = {result.name: result.params for result in run.results}
    assert params == {"full": 1680, **{f"{n}@{name}": cap for name, cap in caps.items() for n in ("bet", "uniform")}}
    probed = [(record.strategy == "given", record.params) for record in read_probes(tmp_path / "run" / "actions.jsonl")]
    assert probed == [(True, 840), (True, 420)] + [(False, 840), (False, 420)] * 2
    assert (tmp_path / "run" / "plots" / "budgets.png").is_file()


@pytest.mark.slow
def test_untrained_probe_measures_the_masked_pretrained_table(tmp_path: Path) -> None:
    settings = WARM | {"search": {"num_iterations": 1}, "probe": {"epochs": None, "refit_steps": 0, "user_share": 1.0}}
    main(["fit", "--config", str(write_config(tmp_path, "run", **settings))])
    module, data = full_table(tmp_path / "run")
    module.network.set_sizes(read_sizes(str(tmp_path / "run" / "sizes" / "bet.txt")))
    (record,) = read_probes(tmp_path / "run" / "actions.jsonl")
    assert module.recommender.evaluate(data.val_dataloader()) == pytest.approx(record.metrics, rel=1e-6)


@pytest.mark.slow
def test_a_cut_table_that_training_does_not_improve_is_kept_as_it_is(tmp_path: Path) -> None:
    spoil = {"lr": 50.0, "min_lr": 50.0}
    settings = WARM | {"search": {"num_iterations": 1}, "probe": {"epochs": 0, "user_share": 1.0}}
    main(["fit", "--config", str(write_config(tmp_path, "run", warm_schedule=spoil, **settings))])
    (probe,) = read_probes(tmp_path / "run" / "actions.jsonl")
    result = result_of(tmp_path / "run", "bet")
    assert result.best_epoch == 0 and result.epochs > 0
    assert result.valid == pytest.approx(probe.metrics, rel=1e-6)


@pytest.mark.slow
def test_a_probe_that_diverges_has_no_fitness_and_the_search_goes_on(tmp_path: Path) -> None:
    schedule = {"lr": 1e38, "decay": 1.0, "min_lr": 1e38}
    config = write_config(tmp_path, "run", warm_schedule=schedule, search={"num_iterations": 2}, rules=[UNIFORM])
    main(["fit", "--config", str(config)])
    records = read_probes(tmp_path / "run" / "actions.jsonl")
    assert [(record.fitness, record.failed, record.metrics) for record in records] == [(0.0, True, {})] * 3
    assert [result.name for result in read_record(tmp_path / "run").results] == ["full", "bet", "uniform"]


@pytest.mark.slow
def test_pretraining_is_taken_from_an_earlier_run(finished_run: Path, tmp_path: Path) -> None:
    full = finished_run / "checkpoints" / "full.ckpt"
    settings: dict[str, Any] = {"search": {"num_iterations": 1}, "probe": {"epochs": 0}, "retrain": {"num_actions": 1}}
    config = write_config(tmp_path, "run", pretrain={"checkpoint": str(full)}, **settings)
    main(["fit", "--config", str(config)])
    before, after = (result_of(folder, "full") for folder in (finished_run, tmp_path / "run"))
    assert after.epochs == 0 and after.valid == pytest.approx(before.valid, rel=1e-6)
    assert len(read_probes(tmp_path / "run" / "actions.jsonl")) == 1


@pytest.mark.slow
def test_a_finished_run_serves_other_budgets_without_training(tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "run", **WARM))])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    budgets = [{"keep_ratio": share} for share in (0.2, 0.3, 0.4)]
    settings = WARM | {"pretrain": {"checkpoint": str(last)}, "search": {"num_iterations": 2}}
    settings |= {"retrain": {"num_actions": 1, "start": "warm", "max_epochs": 0}}
    main(["fit", "--config", str(write_config(tmp_path, "others", budget=budgets, **settings))])
    before, after = (read_probes(tmp_path / name / "actions.jsonl") for name in ("run", "others"))
    assert [record.iteration for record in after] == list(range(len(before), len(before) + 6))
    assert [record.params for record in after] == [672, 504, 336] * 2
    run = read_record(tmp_path / "others")
    full, *results = run.results
    assert full.valid == pytest.approx(result_of(tmp_path / "run", "full").valid, rel=1e-6)
    assert [result.epochs for result in results] == [0] * 3
    for result in results:
        fitness = [record.fitness for record in before + after if record.params == result.params]
        assert result.quality / full.quality == pytest.approx(max(fitness), rel=1e-6)  # all users are one batch


@pytest.mark.slow
def test_refuses_to_go_on_from_a_search_of_another_family(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = finished_run / "checkpoints" / "last.ckpt"
    config = write_config(tmp_path, "run", family=SPECTRAL, pretrain={"checkpoint": str(last)})
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(config)])
    assert f"{last}: its search was of another family or data" in capsys.readouterr().err


@pytest.mark.slow
def test_refuses_a_foreign_pretrained_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "foreign.ckpt"
    foreign.write_text("nothing")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(write_config(tmp_path, "run", pretrain={"checkpoint": str(foreign)}))])
    assert f"{foreign}: not a checkpoint of this backbone" in capsys.readouterr().err
