from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.baselines import PopularitySizes, UniformSizes
from bet_lightning.budget import Budget
from bet_lightning.callbacks import TableSearch
from bet_lightning.results import read_records, read_summary

BUDGET = Budget(keep_ratio=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_candidates": 0}, "TableSearch.num_candidates must be at least 1, got 0"),
        ({"patience": 0}, "TableSearch.patience must be at least 1, got 0"),
        ({"min_size": 2}, "TableSearch.min_size must be 0 or 1, got 2"),
        ({"rivals": [UniformSizes(), UniformSizes()]}, "rivals need different names"),
        ({"rivals": [PopularitySizes(name="bet")]}, "not full, bet, best or last"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableSearch(BUDGET, **arguments)


def test_says_nothing_before_the_data_is_known() -> None:
    search = TableSearch(BUDGET)
    assert search.status() == "" and search.state_dict() == {}


def test_fitness_is_relative_to_the_full_table(finished_run: Path) -> None:
    full = read_summary(finished_run)["results"][0]["valid"]
    denominator = sum(full.values()) / len(full)
    for record in read_records(finished_run / "actions.jsonl"):
        quality = sum(record["metrics"].values()) / len(record["metrics"])
        assert record["fitness"] == pytest.approx(quality / denominator, rel=1e-9)


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
