from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from bet_lightning.callbacks.predictions import PredictionWriter
from bet_lightning.modules import TopItems


@pytest.mark.parametrize("name", ["top.csv", "deep/top.parquet"])
def test_writes_ids_as_they_were_read(name: str, tmp_path: Path) -> None:
    dataset = SimpleNamespace(user_ids=np.array(["ann", "bob"], object), item_ids=np.array([70, 80, 90]))
    trainer = SimpleNamespace(world_size=1, default_root_dir=str(tmp_path), datamodule=SimpleNamespace(dataset=dataset))
    blocks = [
        TopItems(torch.tensor([1]), torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.25]])),
        TopItems(torch.tensor([0]), torch.tensor([[1, -1]]), torch.tensor([[2.0, -torch.inf]])),
    ]
    PredictionWriter(str(tmp_path / name)).write_on_epoch_end(trainer, None, blocks, [])  # type: ignore[arg-type]
    read = pl.read_csv if name.endswith("csv") else pl.read_parquet
    assert read(tmp_path / name).rows() == [("bob", 1, 90, 0.5), ("bob", 2, 70, 0.25), ("ann", 1, 80, 2.0)]


def test_refuses_other_formats() -> None:
    with pytest.raises(ValueError, match=r"predictions\.path must end with \.csv or \.parquet, got top\.xlsx"):
        PredictionWriter("top.xlsx")
