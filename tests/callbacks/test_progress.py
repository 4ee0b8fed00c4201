from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from bet_lightning.callbacks import SearchProgressBar, TableSearch
from bet_lightning.methods.tasks import Epochs, Round, Task
from tests.callbacks.conftest import BUDGET, Scripted, make_data, make_module, make_trainer


class Watch(pl.Callback):
    """Keeps what the bar shows at the end of every epoch."""

    def __init__(self, bar: SearchProgressBar) -> None:
        self.bar = bar
        self.shown: list[tuple[str, dict[str, Any]]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Look at the bar, once an epoch."""
        assert self.bar.progress and self.bar.train_progress_bar_id is not None
        (task,) = (task for task in self.bar.progress.tasks if task.id == self.bar.train_progress_bar_id)
        if not self.shown or self.shown[-1][0] != task.description:
            self.shown.append((task.description, self.bar.get_metrics(trainer, pl_module)))


def test_the_bar_says_what_an_epoch_is_for_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = SearchProgressBar()
    watch = Watch(bar)
    method = Scripted(
        lambda problem, _: Round([problem.full_task(Epochs(2))], epochs_after=5),
        lambda problem, _: Round([Task("probe", "probe 1/5", Epochs(1))]),
    )
    search = TableSearch(BUDGET, method, 0)
    trainer = make_trainer(tmp_path, search, bar, watch, enable_progress_bar=True)
    trainer.fit(make_module(), datamodule=make_data())
    assert [description for description, _ in watch.shown] == [
        "pretrain, epoch 1",
        "pretrain, epoch 2",
        "probe 1/5, epoch 1",
    ]
    first, second, third = (metrics for _, metrics in watch.shown)
    assert first == {}  # nothing is known of how long epochs take
    assert str(second["left"]).endswith(" s") and str(third["left"]).endswith(" s")
    assert set(second) == set(third) == {"left"}
    assert "probe 1/5" not in capsys.readouterr().out  # nothing of it is left


def test_without_a_search_the_bar_is_lightnings(tmp_path: Path) -> None:
    bar = SearchProgressBar()
    watch = Watch(bar)
    trainer = make_trainer(tmp_path, bar, watch, enable_progress_bar=True, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(make_module(), datamodule=make_data())
    assert [description for description, _ in watch.shown] == ["Epoch 0/0 "]
    assert "left" not in watch.shown[0][1]
