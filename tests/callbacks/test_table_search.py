import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from bet_lightning.backbones import LightGCN
from bet_lightning.baselines import PopularitySizes, UniformSizes, read_sizes
from bet_lightning.budget import Budget
from bet_lightning.callbacks import TableSearch
from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule
from bet_lightning.modules import RecommenderModule
from bet_lightning.ranking import quality
from bet_lightning.results import read_records, read_summary
from tests.conftest import TINY, write_config

BUDGET = Budget(keep_ratio=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_candidates": 0}, "TableSearch.num_candidates must be at least 1, got 0"),
        ({"patience": 0}, "TableSearch.patience must be at least 1, got 0"),
        ({"probe_user_share": 0.0}, r"TableSearch.probe_user_share must be in \(0, 1\], got 0.0"),
        ({"min_size": 2}, "TableSearch.min_size must be 0 or 1, got 2"),
        ({"max_epochs": 0}, "TableSearch.max_epochs 0 needs a pretrained table and retrain_init warm"),
        ({"rivals": [UniformSizes(), UniformSizes()]}, "rivals need different names"),
        ({"rivals": [PopularitySizes(name="bet")]}, "not full, bet, best, last"),
        ({"rivals": [PopularitySizes(name="mine_warm")]}, r"not .* \*_fresh, \*_warm or \*@\*, got"),
        ({"rivals": [PopularitySizes(name="half@0.5")]}, r"not .* \*@\*, got"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableSearch(BUDGET, **arguments)


def test_says_nothing_before_the_data_is_known() -> None:
    search = TableSearch(BUDGET)
    assert search.plan is None and search.state_dict() == {}


def test_fitness_is_relative_to_the_full_table(finished_run: Path) -> None:
    full = read_summary(finished_run)["results"][0]["valid"]
    denominator = sum(full.values()) / len(full)
    for record in read_records(finished_run / "actions.jsonl"):
        quality = sum(record["metrics"].values()) / len(record["metrics"])
        assert record["fitness"] == pytest.approx(quality / denominator, rel=1e-9)


def test_probes_rank_a_share_of_the_users_and_are_compared_on_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, "run", num_iterations=1, num_retrain=1, probe_user_share=0.5)
    main(["fit", "--config", str(config), "--data.init_args.eval_batch_size", "16"])
    data = InteractionDataModule(**TINY["data"]["init_args"], eval_batch_size=16)
    data.setup("fit")
    module = RecommenderModule(lambda edges: LightGCN(edges, 8, num_layers=1))
    module.build(data.dataset.train)
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "full.ckpt", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    batches = list(data.val_dataloader())
    module.eval()
    for batch in batches[: math.ceil(len(batches) / 2)]:
        module.validation_step(batch, 0)
    full = quality({name: float(value) for name, value in module.metrics.compute().items()})
    (record,) = read_records(tmp_path / "run" / "actions.jsonl")
    assert record["fitness"] == pytest.approx(quality(record["metrics"]) / full, rel=1e-6)
    summary = read_summary(tmp_path / "run")["results"][0]["valid"]
    assert full != pytest.approx(quality(summary), rel=1e-3)  # which is on all users


def test_strategies_follow_the_paper(finished_run: Path) -> None:
    strategies = [record["strategy"] for record in read_records(finished_run / "actions.jsonl")]
    assert strategies == ["greedy", "greedy", "greedy", "random"]


def test_state_holds_population_predictor_and_pretrained_weights(finished_run: Path) -> None:
    state = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    plan = next(value for key, value in state.items() if key.startswith("TableSearch"))["plan"]
    assert len(plan["search"]["probed"]) == 4
    assert {"predictor", "optimizer", "sampler_generator", "selection_generator"} <= plan["search"].keys()
    full = torch.load(finished_run / "checkpoints" / "full.ckpt", weights_only=True)["state_dict"]
    assert plan["pretrained"]["tables.0.weight"].equal(full["backbone.tables.0.weight"])


@pytest.mark.parametrize("family", ["spectral", "mixed"])
def test_search_without_training(tmp_path: Path, family: str) -> None:
    config = write_config(
        tmp_path, "run", family=family, probe_epochs=0, num_tuned=2, num_retrain=1, retrain_init="both"
    )
    main(["fit", "--config", str(config)])
    records = read_records(tmp_path / "run" / "actions.jsonl")
    kinds = [record["user_distribution"] for record in records]
    if family == "spectral":  # the fourth iteration draws two whole numbers
        assert kinds == ["spectral"] * 3 + ["uniform"]
    else:
        assert [kind == "spectral" for kind in kinds] == [True, False] * 2
    for start in ("fresh", "warm"):
        assert len([record for record in records if start in record.get("tuned", {})]) == 2
    results = {result["name"]: result for result in read_summary(tmp_path / "run")["results"]}
    assert set(results) == {"full", *(f"{n}{s}" for n in ("bet", "uniform") for s in ("", "_fresh", "_warm"))}
    for name in ("bet", "uniform"):
        starts = [quality(results[f"{name}_{start}"]["valid"]) for start in ("fresh", "warm")]
        assert quality(results[name]["valid"]) == max(starts)
        assert results[name]["params"] == read_summary(tmp_path / "run")["budget"]["params"]


def test_several_budgets_from_one_pretraining_and_one_search(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": "spectral", "probe_epochs": 0, "retrain_init": "warm", "num_retrain": 1}
    budgets = [{"keep_ratio": 0.25}, {"keep_ratio": 0.5}]
    main(["fit", "--config", str(write_config(tmp_path, "run", budget=budgets, **settings))])
    summary = read_summary(tmp_path / "run")
    caps = {"": 420, "@0.5": 840}  # of 210 rows x 8
    assert [budget["params"] for budget in summary["budgets"]] == list(caps.values())
    assert summary["budget"] == summary["budgets"][0]
    params = {result["name"]: result["params"] for result in summary["results"]}
    assert params == {"full": 1680, **{f"{n}{ending}": cap for ending, cap in caps.items() for n in ("bet", "uniform")}}
    assert [record["params"] for record in read_records(tmp_path / "run" / "actions.jsonl")] == [420, 840] * 2
    assert (tmp_path / "run" / "plots" / "budgets.png").is_file()


def test_a_cut_table_is_logged_before_it_is_trained(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": "spectral", "retrain_init": "warm", "num_retrain": 1, "rivals": []}
    main(["fit", "--config", str(write_config(tmp_path, "run", **settings))])
    (logged,) = (tmp_path / "run" / "logs").rglob("metrics.csv")
    epochs = pl.read_csv(logged, infer_schema_length=None)["retrain/bet/epoch"].drop_nulls()
    assert epochs[:2].to_list() == [0, 1]


def test_refuses_budgets_that_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budgets = [{"keep_ratio": 0.25}, {"params": 420}]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(write_config(tmp_path, "run", budget=budgets))])
    assert "TableSearch.budget needs budgets that differ, got [420, 420] parameters" in capsys.readouterr().err


def test_untrained_probe_measures_the_masked_pretrained_table(tmp_path: Path) -> None:
    settings = {"family": "spectral", "refit_steps": 0, "num_iterations": 1, "probe_user_share": 1.0}
    settings |= {"probe_epochs": None}
    main(["fit", "--config", str(write_config(tmp_path, "run", num_retrain=1, **settings))])
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    module = RecommenderModule(lambda edges: LightGCN(edges, 8, num_layers=1))
    module.build(data.dataset.train)
    folder = tmp_path / "run"
    module.load_state_dict(torch.load(folder / "checkpoints" / "full.ckpt", weights_only=True)["state_dict"])
    module.set_sizes(read_sizes(str(folder / "sizes" / "bet.txt")), cap=10**6)
    (record,) = read_records(folder / "actions.jsonl")
    assert module.evaluate(data.val_dataloader()) == pytest.approx(record["metrics"], rel=1e-6)


def test_training_on_validation_pairs_keeps_the_last_epoch(tmp_path: Path) -> None:
    path = write_config(tmp_path, "run", num_iterations=0, rivals=[], max_epochs=3, patience=1)
    main(["fit", "--config", str(path), "--data.init_args.train_on_valid", "true"])
    (full,) = read_summary(tmp_path / "run")["results"]
    assert (full["best_epoch"], full["epochs"]) == (3, 3)
    logged = pl.read_csv(tmp_path / "run" / "logs" / "version_0" / "metrics.csv")
    assert logged["val/recall@20"].drop_nulls().len() == 1


def test_a_probe_that_diverges_has_no_fitness_and_the_search_goes_on(tmp_path: Path) -> None:
    schedule = {"lr": 1e38, "decay": 1.0, "decay_steps": 1, "min_lr": 1e38}
    main(["fit", "--config", str(write_config(tmp_path, "run", probe_schedule=schedule, num_iterations=2))])
    records = read_records(tmp_path / "run" / "actions.jsonl")
    assert [(record["fitness"], record["failed"], record["metrics"]) for record in records] == [(0.0, True, {})] * 2
    assert [result["name"] for result in read_summary(tmp_path / "run")["results"]] == ["full", "bet", "uniform"]


def test_pretraining_is_taken_from_an_earlier_run(finished_run: Path, tmp_path: Path) -> None:
    full = finished_run / "checkpoints" / "full.ckpt"
    settings = {"num_iterations": 1, "num_retrain": 1, "rivals": [], "probe_epochs": 0}
    config = write_config(tmp_path, "run", pretrained=str(full), **settings)
    main(["fit", "--config", str(config)])
    before, after = (read_summary(folder)["results"][0] for folder in (finished_run, tmp_path / "run"))
    assert (after["name"], after["epochs"]) == ("full", 0)
    assert after["valid"] == pytest.approx(before["valid"], rel=1e-6)
    assert len(read_records(tmp_path / "run" / "actions.jsonl")) == 1


def test_a_finished_run_serves_other_budgets_without_training(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"family": "spectral", "probe_epochs": 0, "retrain_init": "warm", "num_retrain": 1}
    main(["fit", "--config", str(write_config(tmp_path, "run", **settings))])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    budgets = [{"keep_ratio": share} for share in (0.2, 0.3, 0.4)]
    settings |= {"budget": budgets, "pretrained": str(last), "num_iterations": 6, "max_epochs": 0, "rivals": []}
    main(["fit", "--config", str(write_config(tmp_path, "others", **settings))])
    before, after = (read_records(tmp_path / name / "actions.jsonl") for name in ("run", "others"))
    assert [record["iteration"] for record in after] == list(range(len(before), len(before) + 6))
    assert [record["params"] for record in after] == [336, 504, 672] * 2
    full, *results = read_summary(tmp_path / "others")["results"]
    assert full["valid"] == pytest.approx(read_summary(tmp_path / "run")["results"][0]["valid"], rel=1e-6)
    assert [result["epochs"] for result in results] == [0] * 3
    for result in results:
        fitness = [record["fitness"] for record in before + after if record["params"] == result["params"]]
        assert quality(result["valid"]) / quality(full["valid"]) == pytest.approx(max(fitness), rel=1e-6)


def test_refuses_to_go_on_from_a_search_of_another_family(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = finished_run / "checkpoints" / "last.ckpt"
    config = write_config(tmp_path, "run", family="spectral", pretrained=str(last))
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(config)])
    assert f"{last}: its search was of another family or data" in capsys.readouterr().err


def test_refuses_a_foreign_pretrained_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "foreign.ckpt"
    foreign.write_text("nothing")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(write_config(tmp_path, "run", pretrained=str(foreign)))])
    assert f"{foreign}: not a checkpoint of this backbone" in capsys.readouterr().err
