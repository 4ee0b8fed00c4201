from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
)

from bet_lightning.callbacks.options import check_options
from bet_lightning.cli import main
from tests.callbacks.conftest import Scripted, fit, make_trainer
from tests.conftest import write_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"fast_dev_run": True},
            "trainer.fast_dev_run True is in the way of a search: it ends before there is",
        ),
        ({"max_epochs": 3}, r"trainer.max_epochs 3 is in the way of a search: search.method.pretrain and .retrain say"),
        ({"max_steps": 5}, "trainer.max_steps 5 is in the way"),
        ({"min_epochs": 6}, "trainer.min_epochs 6 is in the way of a search: the run ends with the method's last"),
        ({"min_steps": 6}, "trainer.min_steps 6 is in the way"),
        ({"limit_val_batches": 0.5}, r"trainer.limit_val_batches 0.5 .*: search.method.probe.user_share is for probes"),
        ({"limit_val_batches": 1}, "trainer.limit_val_batches 1 is in the way"),
        ({"limit_val_batches": 0}, "trainer.limit_val_batches 0 is in the way"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches 0 is in the way .*: nothing would be trained"),
        ({"check_val_every_n_epoch": 2}, "trainer.check_val_every_n_epoch 2 .*: eval_every_n_epochs of search.method"),
        ({"val_check_interval": 0.5}, "trainer.val_check_interval 0.5 .*: a training is validated between epochs"),
        ({"overfit_batches": 1}, "trainer.overfit_batches 1 is in the way"),
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches 0 is in the way"),
        ({"gradient_clip_val": -1.0}, "trainer.gradient_clip_val -1.0 is in the way"),
        ({"precision": "64-true"}, "trainer.precision 64-true .*: tables are trained in float32"),
        ({"max_time": "00:01:00:00"}, "trainer.callbacks Timer is in the way of a search"),
    ],
)
def test_refuses_options_that_would_cut_a_search_short(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, Scripted(), **settings)


@pytest.mark.parametrize(
    "callback",
    [
        *(EarlyStopping("val/recall@20"), Timer("00:01:00:00"), StochasticWeightAveraging(0.01), EMAWeightAveraging()),
        *(ModelPruning("l1_unstructured"), BackboneFinetuning(), LearningRateFinder(), BatchSizeFinder()),
        GradientAccumulationScheduler({0: 2}),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_refuses_callbacks_that_would_spoil_it(tmp_path: Path, callback: Any) -> None:
    with pytest.raises(ValueError, match=f"trainer.callbacks {type(callback).__name__} is in the way of a search: "):
        fit(tmp_path, Scripted(), callback)


OTHERS: list[dict[str, Any]] = [
    *(
        {},
        {"limit_train_batches": 0.5},
        {"limit_train_batches": 1},
        {"precision": "bf16-mixed"},
        {"precision": "32-true"},
    ),
    *(
        {"max_epochs": -1},
        {"max_epochs": 1000},
        {"max_steps": -1},
        {"limit_val_batches": 1.0},
        {"limit_test_batches": 1},
    ),
    *(
        {"limit_predict_batches": 2},
        {"num_sanity_val_steps": 2},
        {"log_every_n_steps": 1},
        {"enable_checkpointing": False},
    ),
    *({"enable_progress_bar": True}, {"enable_model_summary": True}, {"accumulate_grad_batches": 4}),
    *({"gradient_clip_val": 0.1}, {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, {"benchmark": True}),
    *({"deterministic": "warn"}, {"inference_mode": False}, {"use_distributed_sampler": False}, {"profiler": "simple"}),
    *({"detect_anomaly": True}, {"sync_batchnorm": True}, {"reload_dataloaders_every_n_epochs": 1}, {"devices": 1}),
]


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_other_options_are_nobodys_business(tmp_path: Path, settings: dict[str, Any]) -> None:
    check_options(make_trainer(tmp_path, **settings))


def test_the_command_line_refuses_a_second_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, "run")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(config), "--trainer.callbacks+=TableSearch"])
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "error: trainer.callbacks: there can be one TableSearch, which the key search makes"
