"""A run of the whole method on a tiny synthetic set, shared by the tests that look at its results."""

import copy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
import yaml

from bet_lightning import cli
from bet_lightning.callbacks import recorder
from bet_lightning.cli import main

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")
torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

TINY: dict[str, Any] = {
    "seed_everything": 3,
    "model": {
        "class_path": "RecommenderModule",
        "init_args": {
            "backbone": {"class_path": "LightGCN", "init_args": {"max_size": 8, "num_layers": 1}},
            "l2": 1e-4,
            "objective": {"class_path": "BPR"},
            "schedule": {"lr": 0.03, "decay": 0.95, "decay_epochs": 50, "min_lr": 0.001},
        },
    },
    "data": {
        "class_path": "InteractionDataModule",
        "init_args": {
            "batch_size": 512,
            "synthetic_users": 120,
            "synthetic_items": 90,
            "synthetic_interactions": 2_400,
        },
    },
    "search": {
        "budget": {"keep_ratio": 0.25},
        "method": {
            "class_path": "BET",
            "init_args": {
                "family": {"class_path": "PopularityFamily"},
                "rules": [],
                "warm_schedule": {"lr": 0.03, "decay": 0.98, "decay_epochs": 50, "min_lr": 0.001},
                "pretrain": {"max_epochs": 2},
                "search": {"num_iterations": 4, "num_random": 0, "num_candidates": 20, "num_updates": 2},
                "probe": {"epochs": 1, "user_share": 0.3},
                "tune": {"num_actions": 0},
                "retrain": {"num_actions": 2, "start": "fresh", "max_epochs": 2},
            },
        },
    },
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
}
SPECTRAL = {"class_path": "SpectralFamily"}
UNIFORM = {"class_path": "UniformSizes"}


def merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Settings with others over them, section by section."""
    both = {name: value for name, value in more.items() if isinstance(value, dict) and isinstance(base.get(name), dict)}
    return {**base, **more, **{name: merge(base[name], value) for name, value in both.items()}}


def write_config(folder: Path, name: str, backbone: str = "LightGCN", *, budget: Any = None, **method: Any) -> Path:
    """Write the tiny config with other settings of BET; its run folder lies beside it.

    Args:
        folder: Where to.
        name: Of config and run folder.
        backbone: Class of the backbone.
        budget: In place of a quarter.
        method: Settings of BET by section, as ``search={"num_iterations": 2}``, or ``method={"class_path": ...}``.
    """
    config = copy.deepcopy(TINY)
    config["trainer"]["default_root_dir"] = str(folder / name)
    if budget is not None:
        config["search"]["budget"] = budget
    if "method" in method:
        config["search"]["method"] = method["method"]
    else:
        arguments = config["search"]["method"]["init_args"]
        family = method.pop("family", arguments["family"])
        config["search"]["method"]["init_args"] = {**merge(arguments, method), "family": family}
    if backbone != "LightGCN":
        config["model"]["init_args"]["backbone"] = {"class_path": backbone, "init_args": {"max_size": 8}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing of runs, unless a test is marked ``draws``: it takes longer than all else that tiny runs do."""
    if "draws" not in request.keywords:
        for module in (cli, recorder):
            monkeypatch.setattr(module, "draw_run", lambda folder: [])


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished fit; its config lies beside it as ``run.yaml``."""
    folder = tmp_path_factory.mktemp("runs")
    main(["fit", "--config", str(write_config(folder, "run", rules=[UNIFORM]))])
    return folder / "run"
