"""A run of the whole method on a tiny synthetic set, shared by the tests that look at its results."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bet_lightning.cli import main

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other

TINY: dict[str, Any] = {
    "seed_everything": 3,
    "model": {
        "class_path": "RecommenderModule",
        "init_args": {"backbone": {"class_path": "LightGCN", "init_args": {"max_size": 8, "num_layers": 1}}},
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
    "trainer": {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "callbacks": [
            {
                "class_path": "TableSearch",
                "init_args": {
                    "budget": {"keep_ratio": 0.25},
                    "num_iterations": 4,
                    "num_candidates": 20,
                    "probe_epochs": 1,
                    "num_retrain": 2,
                    "max_epochs": 2,
                },
            }
        ],
    },
}


def write_config(folder: Path, name: str, backbone: str = "LightGCN", **search: Any) -> Path:
    """Write the tiny config with other search settings; its run folder lies beside it."""
    config = copy.deepcopy(TINY)
    config["trainer"]["default_root_dir"] = str(folder / name)
    config["trainer"]["callbacks"][0]["init_args"].update(search)
    if backbone != "LightGCN":
        config["model"]["init_args"]["backbone"] = {"class_path": backbone, "init_args": {"max_size": 8}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a finished fit; its config lies beside it as ``run.yaml``."""
    folder = tmp_path_factory.mktemp("runs")
    main(["fit", "--config", str(write_config(folder, "run"))])
    return folder / "run"
