"""What tables have in common that read users and items in two ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import EmbeddingTable


class SidedTable(EmbeddingTable):
    """A table whose users and items are read by modules of their own, a side at a time.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns of a vector.
    """

    def __init__(self, num_users: int, num_items: int, max_size: int) -> None:
        super().__init__()
        self.num_users = num_users
        self.num_items = num_items
        self.num_rows = num_users + num_items
        self.max_size = max_size

    @abstractmethod
    def read_side(self, side: int, rows: Tensor) -> Tensor:
        """Return vectors ``(r, max_size)`` of rows ``(r,)`` of users (side 0) or of items (side 1)."""

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows: see :meth:`EmbeddingTable.forward`."""
        if rows is None:
            rows = torch.arange(self.num_rows, device=next(self.parameters()).device)
        return self.by_side(self.read_side, rows)

    def by_side(self, read: Callable[..., Tensor], rows: Tensor, *more: Tensor) -> Tensor:
        """Read rows ``(r,)`` a side at a time, and return what is read in their order.

        Args:
            read: Takes the number of a side, its rows, and as much of ``more``.
            rows: ``(r,)`` int64, not empty.
            more: Tensors of r rows.
        """
        places = [(rows < self.num_users).nonzero().squeeze(1), (rows >= self.num_users).nonzero().squeeze(1)]
        found = [
            read(side, rows[mine], *(each[mine] for each in more)) for side, mine in enumerate(places) if len(mine)
        ]
        return torch.cat(found).index_select(0, torch.cat(places).argsort())


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows, by running statistics where a batch is a single row."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, num_features)``."""
        training = self.training
        self.training = training and len(input) > 1
        try:
            return super().forward(input)
        finally:
            self.training = training


def draw_again(modules: nn.Module, drawn: Tensor) -> None:
    """Draw the parameters of all layers again, seeded by the first of the values ``(r, c)`` that a backbone drew.

    A backbone's own generator is out of a table's sight, and what it drew says as much.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(drawn[0, :1].view(torch.int32)))
        for module in modules.modules():
            if isinstance(module, nn.Linear | nn.Embedding | nn.BatchNorm1d):
                module.reset_parameters()
