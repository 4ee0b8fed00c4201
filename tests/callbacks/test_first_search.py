from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.backbones import LightGCN
from bet_lightning.callbacks.first_search import Attempt, ascend
from bet_lightning.callbacks.new_plan import find_gains, new_search
from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule
from bet_lightning.modules import RecommenderModule
from bet_lightning.ranking import quality
from bet_lightning.results import read_records, read_summary
from bet_lightning.search import popularity_order
from tests.conftest import TINY, write_config

SETTINGS: dict[str, Any] = {"probe_epochs": 0, "num_retrain": 1, "retrain_init": "warm", "rivals": [], "min_size": 0}


def chosen_power(folder: Path) -> float:
    checkpoint = torch.load(folder / "checkpoints" / "full.ckpt", weights_only=True)
    return float(checkpoint["state_dict"]["backbone.refit_power"])


def test_the_power_of_the_best_cut_tables_is_chosen(tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "run", family="spectral", refit_steps=3, **SETTINGS))])
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    split = data.dataset
    module = RecommenderModule(lambda edges: LightGCN(edges, 8, num_layers=1))
    module.build(split.train)
    state = torch.load(tmp_path / "run" / "checkpoints" / "full.ckpt", weights_only=True)["state_dict"]
    orders = tuple(popularity_order(torch.from_numpy(f)) for f in (split.user_frequency, split.item_frequency))
    users = data.val_dataloader()
    users.share = 0.3
    qualities: dict[float, list[float]] = {}
    for power in LightGCN.refit_powers:
        module.load_state_dict(state | {"backbone.refit_power": torch.tensor(power)})
        gains = find_gains(module.network, "spectral", 420, 0, 3)
        settings: dict[str, Any] = {"family": "spectral", "caps": [420], "width": 8, "min_size": 0}
        search = new_search(split, gains, realization="quantile", **settings)
        candidates = search.samplers[0].sample(4, torch.Generator().manual_seed(0))
        qualities[power] = []
        for index in range(4):
            module.load_state_dict(state | {"backbone.refit_power": torch.tensor(power)})
            module.set_sizes(candidates.at(index).sizes(*orders), 420, refit_steps=3)
            qualities[power].append(quality(module.evaluate(users)))
    first = qualities[0.0]
    judged = sorted(range(4), key=first.__getitem__)[2:]  # the best two of the first power
    reached = {power: max(found[draw] for draw in judged) for power, found in qualities.items()}
    assert len(set(reached.values())) > 1
    peak = ascend(LightGCN.refit_powers, lambda power: Attempt(reached[power], power, search, None))
    assert chosen_power(tmp_path / "run") == peak.power
    search = read_summary(tmp_path / "run")["search"]
    assert 0 < search["seconds_to_begin"] < search["seconds"]


@pytest.mark.parametrize(
    ("qualities", "peak", "tried"),
    [([1, 2, 3, 2, 1], 2, [2, 3, 1]), ([1, 2, 3, 4, 5], 4, [2, 3, 4]), ([3, 4, 2, 1, 0], 1, [2, 3, 1, 0])],
)
def test_ascent_finds_the_peak_and_goes_one_way(qualities: list[float], peak: int, tried: list[int]) -> None:
    seen = []

    def attempt(place: float) -> Attempt:
        seen.append(int(place))
        return Attempt(qualities[int(place)], place, None, None)  # type: ignore[arg-type]

    assert ascend(range(5), attempt).power == peak
    assert seen == tried


def test_nothing_is_chosen_where_nothing_is_made_up_for(tmp_path: Path) -> None:
    main(["fit", "--config", str(write_config(tmp_path, "run", family="spectral", refit_steps=0, **SETTINGS))])
    assert chosen_power(tmp_path / "run") == 0


def test_a_cut_table_that_training_does_not_improve_is_kept_as_it_is(tmp_path: Path) -> None:
    spoil = {"lr": 50.0, "min_lr": 50.0}
    config = write_config(tmp_path, "run", probe_user_share=1.0, probe_schedule=spoil, num_iterations=1, **SETTINGS)
    main(["fit", "--config", str(config)])
    (probe,) = read_records(tmp_path / "run" / "actions.jsonl")
    (result,) = [r for r in read_summary(tmp_path / "run")["results"] if r["name"] == "bet"]
    assert result["best_epoch"] == 0 and result["epochs"] > 0
    assert result["valid"] == pytest.approx(probe["metrics"], rel=1e-6)
