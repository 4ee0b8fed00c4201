"""Data that is held in memory, and what the command line makes of it."""

import datetime
import logging
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from torch_geometric.data import HeteroData, InMemoryDataset

from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule, make_synthetic

MADE = """
import torch
from torch_geometric.data import HeteroData, InMemoryDataset
from bet_lightning.data import make_synthetic

class Shop(InMemoryDataset):
    def __init__(self, root: str, num_users: int = 60):
        self.num_users = num_users
        super().__init__(root)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self):
        return ["data.pt"]

    def process(self):
        made = make_synthetic(self.num_users, 40, 400)
        graph = HeteroData()
        graph["user"].num_nodes, graph["item"].num_nodes = self.num_users, 40
        edges = torch.stack([torch.from_numpy(made.users), torch.from_numpy(made.items)])
        tested = torch.arange(400) % 8 == 0
        graph["user", "buys", "item"].edge_index = edges[:, ~tested]
        graph["user", "buys", "item"].edge_label_index = edges[:, tested]
        self.save([graph], self.processed_paths[0])

def load() -> HeteroData:
    graph = HeteroData()
    graph["user", "buys", "item"].edge_index = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 3]])
    return graph

def count():
    return 3
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A module with a data set of torch_geometric and a function."""
    (tmp_path / "made_here.py").write_text(MADE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import made_here

    yield made_here
    sys.modules.pop("made_here")


SMALL = {"synthetic_users": 60, "synthetic_items": 50, "synthetic_interactions": 700}


class Pandas:
    """What of pandas' frames is used, of a frame of polars: object columns with NaN for what is missing."""

    iloc = None

    def __init__(self, frame):
        self.frame = frame

    def items(self):
        return ((series.name, PandasSeries(series)) for series in self.frame)


class PandasSeries:
    def __init__(self, series):
        self.series = series

    def to_numpy(self):
        values = self.series.to_numpy()
        return values if self.series.dtype != pl.String else values.astype(object)

    def notna(self):
        return self.series.is_not_null()

    def astype(self, dtype):
        return self

    def where(self, present, other):
        return self

    def tolist(self):
        return self.series.to_list()


def prepared(**options):
    data = InteractionDataModule(**options)
    data.prepare_data()
    data.setup()
    return data


def shop_frame():
    pairs = make_synthetic(30, 20, 150)
    return pl.DataFrame(
        {
            "customer": [f"c{user}" for user in pairs.users],
            "sku": pairs.items,
            "date": [datetime.date(2024, 1, 1) + datetime.timedelta(int(n)) for n in np.arange(150) % 50],
            "note": pl.Series([None] * 150, dtype=pl.String),
        }
    )


def test_frames_are_as_files(tmp_path):
    frame = shop_frame()
    frame.write_parquet(tmp_path / "shop.parquet")
    expected = prepared(path=str(tmp_path / "shop.parquet"), split="temporal").dataset
    for held in (frame, frame.lazy(), Pandas(frame), lambda: frame):
        split = prepared(source=held, split="temporal").dataset
        assert split.hash == expected.hash
        assert split.user_ids.tolist() == expected.user_ids.tolist()
        assert split.item_ids.tolist() == expected.item_ids.tolist()


def test_a_data_set_of_torch_geometric_with_its_test_edges(made):
    data = prepared(source=made.Shop("root", num_users=50))
    assert (data.name, data.split, data.dataset.test.nnz) == ("shop", "official", 50)
    assert (data.dataset.num_users, data.dataset.num_items) == (50, 40)
    merged = prepared(source=made.Shop("root"), split="paper", name="mine").dataset
    assert merged.name == "mine" and merged.train.nnz + merged.valid.nnz + merged.test.nnz == 400


def test_what_makes_the_data_is_called_once_and_not_at_once(made):
    calls = []

    def load():
        calls.append(made.load())
        return calls[-1]

    data = InteractionDataModule(source=load, ratios=(0.6, 0.4, 0))
    assert (data.name, calls) == ("load", [])
    for _ in range(2):
        data.prepare_data()
        data.setup()
    assert len(calls) == 1 and data.dataset.num_items == 4


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        (["made_here.Shop", "--data.source.root=root", "--data.source.num_users=45"], "shop"),
        (["made_here.load"], "load"),
    ],
)
def test_from_the_command_line(made, source, folder):
    method = ["--search.method=UniformSizes", "--search.method.train.max_epochs=1", "--model.ks=[2]"]
    main(["fit", "--data.source", *source, *method, "--model.backbone.max_size=8", "--search.budget=50%"])
    saved = yaml.safe_load(Path(f"runs/{folder}/config.yaml").read_text())
    arguments = {"class_path": "made_here.Shop", "init_args": {"root": "root", "num_users": 45}}
    assert saved["data"]["init_args"]["source"] == {"shop": arguments, "load": "made_here.load"}[folder]
    assert f'"name": "{folder}"' in Path(f"runs/{folder}/summary.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 5}, "data.source must hold a HeteroData or a frame, got int"),
        ({"source": pl.DataFrame({"user": [1], "item": [2]}), "edge_type": "a,b"}, "data.edge_type 'a,b' is of no use"),
        ({"source": pl.DataFrame({"user": [1], "x": [2]})}, "data.source: no item column .* it has user, x"),
        (
            {"source": pl.DataFrame({"user": [1.0, None], "item": [1, 2]})},
            "row 2 of the data, column 'user': the id is",
        ),
        ({"source": HeteroData(), "path": "a.csv"}, "data.source and a file, a.csv, exclude each other"),
        ({"edge_type": "user,item"}, "data.edge_type 'user,item' needs data.source"),
        ({"separator": ";"}, "data.separator ';' needs data.path"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        prepared(**options)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "made_here.count",
            "data.source: expected 'made_here.count' to be a function that returns Dataset | HeteroData",
        ),
        ("made_here.Shop", "data.source: the following arguments are required: root"),
        ("made_here.Shp", "data.source: module 'made_here' has no attribute 'Shp'"),
    ],
)
def test_a_line_for_what_cannot_be_made(made, capsys, source, message):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--data.source", source])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and len(line) < 150


def test_what_cannot_be_downloaded_is_a_missing_file():
    def load():
        raise OSError("no route to host")

    with pytest.raises(FileNotFoundError, match=r"data.source load: no route to host"):
        prepared(source=load)


def test_several_graphs_are_not_one():
    class Two(InMemoryDataset):
        def __init__(self):
            super().__init__()
            graphs = [HeteroData(user={"x": torch.zeros(n + 1, 1)}) for n in range(2)]
            self.data, self.slices = self.collate(graphs)

    with pytest.raises(ValueError, match=r"data.source two has 2 graphs"):
        prepared(source=Two())


def test_all_data_can_be_trained_on(caplog):
    with caplog.at_level(logging.WARNING, logger="bet_lightning"):
        data = prepared(
            synthetic_users=60,
            synthetic_items=50,
            synthetic_interactions=700,
            ratios=(0.9, 0.1, 0),
            train_on_valid=True,
        )
    assert data.dataset.train.nnz == 700 and data.dataset.test.nnz == 0
    assert "its metrics are too high" in caplog.text
    with pytest.raises(ValueError, match=r"data.train_on_valid true"):
        InteractionDataModule(ratios=(1, 0, 0))
