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
    before = path.read_bytes() if path.is_file() else None
    writer.on_predict_start(trainer, module)
    for index, block in enumerate(blocks):
        writer.write_on_batch_end(trainer, module, block, None, None, index, 0)
        assert (path.read_bytes() if path.exists() else None) == before
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


@pytest.mark.parametrize("name", ["top.csv", "top.parquet"])
def test_where_nobody_has_anything_left_there_is_a_file_of_no_lines(name: str, tmp_path: Path) -> None:
    nothing = TopItems(torch.tensor([0, 1]), torch.full((2, 2), -1), torch.full((2, 2), -torch.inf))
    write(tmp_path / name, [nothing])
    found = pl.read_csv(tmp_path / name) if name.endswith("csv") else pl.read_parquet(tmp_path / name)
    assert (found.columns, len(found)) == (["user", "rank", "item", "score"], 0)
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["top.csv", "top.parquet"])
def test_lists_replace_lists_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    block = TopItems(torch.tensor([0]), torch.tensor([[0]]), torch.tensor([[1.0]]))
    path.touch()  # an empty file is nobody's work
    write(path, [block])
    lists = path.read_bytes()
    write(path, [block])
    assert path.read_bytes() == lists
    sales = pl.DataFrame({"user": ["ann"], "item": [70]})
    (sales.write_csv if name.endswith("csv") else sales.write_parquet)(path)
    link, folder = tmp_path / f"link.{name}", tmp_path / f"folder.{name}"
    link.symlink_to(tmp_path / "nowhere")
    folder.mkdir()
    kept = path.read_bytes()
    for taken in (path, link, folder):
        with pytest.raises(ValueError, match=f"predictions.path {taken}: holds something else than lists"):
            write(taken, [block])
    assert path.read_bytes() == kept and link.is_symlink() and not list(folder.iterdir())


def test_what_breaks_off_leaves_no_batches(tmp_path: Path) -> None:
    (tmp_path / "top.csv.parts").mkdir()  # of the user's own
    writer, trainer = PredictionWriter(str(tmp_path / "top.csv")), make_trainer(tmp_path)
    module: Any = None
    writer.on_predict_start(trainer, module)
    assert len(list(tmp_path.iterdir())) == 2
    writer.on_exception(trainer, module, KeyboardInterrupt())
    assert [each.name for each in tmp_path.iterdir()] == ["top.csv.parts"]
