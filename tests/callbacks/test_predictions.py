from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from bet_lightning.callbacks.predictions import PredictionWriter
from bet_lightning.ranking.ranker import TopItems


def make_trainer(folder: Path) -> Any:
    dataset = SimpleNamespace(user_ids=np.array(["ann", "bob"], object), item_ids=np.array([70, 80, 90]))
    return SimpleNamespace(
        world_size=1, default_root_dir=str(folder), datamodule=SimpleNamespace(dataset=dataset), global_rank=0
    )


def write(path: Path, blocks: list[TopItems]) -> None:
    writer, trainer = PredictionWriter(str(path)), make_trainer(path.parent)
    module: Any = None
    writer.on_predict_start(trainer, module)
    for index, block in enumerate(blocks):
        writer.write_on_batch_end(trainer, module, block, None, None, index, 0)
        assert not path.exists()
    writer.on_predict_end(trainer, module)


@pytest.mark.parametrize("name", ["top.csv", "deep/top.parquet"])
def test_writes_ids_as_they_were_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    blocks = [
        TopItems(torch.tensor([1]), torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.25]])),
        TopItems(torch.tensor([0]), torch.tensor([[1, -1]]), torch.tensor([[2.0, -torch.inf]])),
    ]
    write(path, blocks)
    read = pl.read_csv if name.endswith("csv") else pl.read_parquet
    assert read(path).rows() == [("bob", 1, 90, 0.5), ("bob", 2, 70, 0.25), ("ann", 1, 80, 2.0)]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_batches_stay_in_their_order(tmp_path: Path) -> None:
    blocks = [TopItems(torch.tensor([0]), torch.tensor([[0]]), torch.tensor([[float(n)]])) for n in range(12)]
    write(tmp_path / "top.csv", blocks)
    assert pl.read_csv(tmp_path / "top.csv")["score"].to_list() == list(range(12))


def test_refuses_other_formats() -> None:
    with pytest.raises(ValueError, match=r"predictions\.path must end with \.csv or \.parquet, got top\.xlsx"):
        PredictionWriter("top.xlsx")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "top.csv"
    with pytest.raises(ValueError, match=rf"predictions\.path {path}: cannot be written"):
        write(path, [])
