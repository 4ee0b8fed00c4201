from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bet_lightning.backbones import Edges, HasAuxiliaryLoss, LightGCN
from bet_lightning.cli import main
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR, total_loss
from bet_lightning.runs.folder import read_record
from tests.conftest import SPECTRAL, write_config
from tests.examples.simgcl import SimGCL

EDGES = Edges(torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor([0, 3, 1, 3, 2, 4]), 4, 6)
BATCH = BPRBatch(torch.tensor([0, 2, 0]), torch.tensor([3, 2, 0]), torch.tensor([1, 5, 4]))


def test_its_loss_is_added_to_the_objectives() -> None:
    network, plain = SimGCL(EDGES, 5, weight=0.7), LightGCN(EDGES, 5)
    plain.load_state_dict(network.state_dict())
    assert isinstance(network, HasAuxiliaryLoss) and not isinstance(plain, HasAuxiliaryLoss)
    torch.manual_seed(0)
    both = total_loss(network, BPR(), 0.1, BATCH)
    torch.manual_seed(0)
    contrast = network.auxiliary_loss(*BATCH)
    assert contrast > 0
    torch.testing.assert_close(both, total_loss(plain, BPR(), 0.1, BATCH) + contrast)


def test_without_noise_a_row_is_nearest_to_itself() -> None:
    network = SimGCL(EDGES, 5, weight=1.0, epsilon=0.0)
    view = torch.nn.functional.normalize(network.noisy_view()).detach().numpy()
    expected = 0.0
    for rows in (np.array([0, 2]), np.array([4, 6, 7])):
        logits = view[rows] @ view[rows].T / 0.2
        expected += (np.log(np.exp(logits).sum(1)) - np.diag(logits)).mean()
    assert float(network.auxiliary_loss(*BATCH).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_bet_searches_it_by_its_name_alone(tmp_path: Path) -> None:
    path = write_config(tmp_path, "run", family=SPECTRAL, probe={"epochs": 0}, retrain={"start": "warm"})
    config = yaml.safe_load(path.read_text())
    config["model"]["init_args"]["backbone"] = {
        "class_path": "tests.examples.simgcl.SimGCL",
        "init_args": {"max_size": 8, "num_layers": 1},
    }
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    record = read_record(tmp_path / "run")
    assert record.backbone == "SimGCL"
    assert [(result.name, result.params) for result in record.results] == [("full", 1680), ("bet", 420)]
