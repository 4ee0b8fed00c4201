"""What the benchmarks run on: a named data set, or a synthetic graph of Gowalla's shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bet_lightning.backbones import Edges
from bet_lightning.data import BPRBatch, Csr, InteractionDataModule, RankingLoader

GOWALLA_SHAPE = {"synthetic_users": 29_858, "synthetic_items": 40_981, "synthetic_interactions": 1_027_370}


def edges_of(train: Csr) -> Edges:
    """Training edges, as backbones are made from."""
    return Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)


@dataclass
class Bench:
    """A data set, split, with the forms that rivals want.

    Attributes:
        name: Data set, or ``synthetic``.
        folder: Folder of data sets.
        rounds: Counted runs of each contestant.
        shape: Users, items and interactions of ``synthetic``.
    """

    name: str
    folder: Path
    rounds: int
    shape: Mapping[str, int] = field(default_factory=GOWALLA_SHAPE.copy)

    def module(self, batch_size: int = 2048, eval_batch_size: int = 1024) -> InteractionDataModule:
        """A data module that has read and split the data."""
        shape = self.shape if self.name == "synthetic" else {}
        module = InteractionDataModule(
            self.name, str(self.folder), batch_size=batch_size, eval_batch_size=eval_batch_size, **shape
        )
        module.setup("fit")
        return module

    @cached_property
    def data(self) -> InteractionDataModule:
        """The data module that all benchmarks share."""
        return self.module()

    @cached_property
    def edges(self) -> Edges:
        """Training edges."""
        return edges_of(self.data.dataset.train)

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return self.edges.num_users + self.edges.num_items

    @cached_property
    def edge_index(self) -> Tensor:
        """(2, 2 E) int64, both directions of every edge, as torch_geometric wants it."""
        heads = torch.cat([self.edges.users, self.edges.items + self.edges.num_users])
        tails = torch.cat([self.edges.items + self.edges.num_users, self.edges.users])
        return torch.stack([heads, tails])

    @cached_property
    def adjacency(self) -> Tensor:
        """Normalised adjacency as a coalesced COO tensor, what most implementations multiply with."""
        degree = torch.bincount(self.edge_index[0], minlength=self.num_rows).clamp(min=1).float()
        value = (degree[self.edge_index[0]] * degree[self.edge_index[1]]).rsqrt()
        return torch.sparse_coo_tensor(self.edge_index, value, (self.num_rows, self.num_rows)).coalesce()

    def batches(self, size: int, count: int) -> list[BPRBatch]:
        """The first training batches of a size."""
        self.data.triplets.batch_size = size
        iterator = iter(self.data.train_dataloader())
        return [next(iterator) for _ in range(min(count, len(self.data.triplets)))]

    def all_users(self, batch_size: int) -> RankingLoader:
        """All users, the seen items and test targets of each: an evaluation on test data."""
        data = self.data.dataset
        targets = data.test if data.test.nnz else data.valid
        users = np.flatnonzero(targets.degrees())
        return RankingLoader(users, data.train, targets, batch_size)
