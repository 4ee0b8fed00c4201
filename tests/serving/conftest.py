"""Small packed tables of all backbones, beside the backbones that they were made from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from bet_lightning import backbones
from bet_lightning.backbones import Backbone, Edges, LightGCN
from bet_lightning.data import DataSplit, make_synthetic, split_interactions
from bet_lightning.deploy.packing import describe, pack_tensors, write_table
from bet_lightning.dtypes import Dtype
from bet_lightning.table_format import TableFormat

BACKBONES = ("LightGCN", "MF", "NeuMF", "NGCF")


class Packed(NamedTuple):
    folder: Path
    network: Backbone
    data: DataSplit


def make_data(num_users: int = 60, num_items: int = 700, ids: str = "rows") -> DataSplit:
    interactions = make_synthetic(num_users, num_items, 900, seed=1)
    data = split_interactions(interactions, "ratio", name="tiny", seed=0)
    names = {
        "rows": (data.user_ids, data.item_ids),
        "integers": (np.arange(num_users) * 3 + 10**10, np.arange(num_items) - 5),
        "texts": tuple(
            np.array(sorted(f"{p}{i}é" for i in range(n)), object) for p, n in (("u", num_users), ("", num_items))
        ),
    }
    users, items = names[ids]
    return DataSplit("tiny", data.train, data.valid, data.test, users, items, 0)


def make_network(
    name: str, data: DataSplit, max_size: int = 8, seed: int = 0, own_weight: float = 1.0, **settings: Any
) -> Backbone:
    torch.manual_seed(seed)
    edges = Edges(
        torch.from_numpy(data.train.rows()), torch.from_numpy(data.train.indices), data.num_users, data.num_items
    )
    network: Backbone = getattr(backbones, name)(edges, max_size, **settings)
    if isinstance(network, LightGCN):
        network.weigh_own(own_weight)
        network.to_kept_form(next(iter(network.kept_forms)))
    smallest = 0 if network.rebuilds_rows else 1
    network.set_sizes(torch.randint(smallest, network.row_width + 1, (network.num_rows,)))
    return network.eval()


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Packed]:
    def make(
        name: str = "MF",
        dtype: Dtype = "fp32",
        ids: str = "rows",
        softmax: dict[str, float] | None = None,
        history: bool = True,
        sizes: torch.Tensor | None = None,
        **settings: Any,
    ) -> Packed:
        data = make_data(ids=ids)
        network = make_network(name, data, **settings)
        if sizes is not None:
            network.set_sizes(sizes)
        most = TableFormat(dtype).num_bytes(network.shape, network.sizes)
        header = describe(network, data, network.num_used, most, dtype) | {"softmax": softmax, "has_history": history}
        write_table(tmp_path / "table", header, pack_tensors(network, data, dtype, history))
        return Packed(tmp_path / "table", network, data)

    return make
