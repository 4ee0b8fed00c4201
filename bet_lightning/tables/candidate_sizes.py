"""What tables have in common that sizes are learned in: vectors of every candidate size, read a side at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Description, EmbeddingTable, Fill
from bet_lightning.tables.size_controller import SizeController

_NUMBERS = ("num_users", "num_items", "max_size")


class CandidateSizesTable(EmbeddingTable):
    """A table with a vector of each candidate size a row, whose users and items are read by modules of their own.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns of a vector.
        candidates: Sizes, in ascending order.
        rate: Learning rate of what decides on sizes, relative to the values'.
        popularity: ``(num_rows,)`` int64, see ``popularity_steps`` (default: to be loaded).

    Attributes:
        weight: ``(num_rows, sum of candidates)`` float32, vectors of all sizes of a row one after another.
        sides: The modules of users and those of items, from a subclass.
        rate_name: What a description and a method's settings call the rate.
    """

    rate_name: ClassVar[str]
    popularity: Tensor
    sides: nn.ModuleList

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_size: int,
        candidates: Sequence[int],
        rate: float = 1.0,
        popularity: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.num_users = num_users
        self.num_items = num_items
        self.num_rows = num_users + num_items
        self.max_size = max_size
        self.candidates = tuple(candidates)
        self.rate = rate
        self.weight = nn.Parameter(torch.zeros(self.num_rows, sum(self.candidates)))
        steps = torch.zeros(self.num_rows, dtype=torch.int64) if popularity is None else popularity.clone()
        self.register_buffer("popularity", steps)

    @abstractmethod
    def controllers(self) -> list[SizeController]:
        """Return what decides on the sizes of users, and on those of items."""

    @abstractmethod
    def preferences(self) -> Tensor:
        """Return what was learned, ``(num_rows, k)`` float32: how much rows prefer each candidate."""

    @abstractmethod
    def read_side(self, side: int, rows: Tensor) -> Tensor:
        """Return vectors ``(r, max_size)`` of rows ``(r,)`` of users (side 0) or of items (side 1)."""

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows: see :meth:`EmbeddingTable.forward`."""
        if rows is None:
            rows = torch.arange(self.num_rows, device=self.weight.device)
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

    def reset_parameters(self, fill: Fill) -> None:
        """Fill vectors of every size with what the backbone draws, and draw all else again from its first value."""
        drawn = torch.zeros(self.num_rows, self.max_size, device=self.weight.device)
        fill(drawn)
        with torch.no_grad():
            self.weight.copy_(torch.cat([drawn[:, :size] for size in self.candidates], dim=1))
        _draw_again(self.sides, drawn)

    def relative_rates(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Return the rate of what decides on sizes: see :meth:`EmbeddingTable.relative_rates`."""
        for controller in self.controllers():
            yield from ((parameter, self.rate) for parameter in controller.parameters())

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        numbers = {name: int(getattr(self, name)) for name in _NUMBERS}
        sizes = " ".join(map(str, self.candidates))
        return {"kind": type(self).__name__, **numbers, "candidates": sizes, self.rate_name: str(self.rate)}

    @classmethod
    def from_description(cls, description: Description) -> Self:
        """Build the table again: see :meth:`EmbeddingTable.from_description`."""
        num_users, num_items, max_size = (int(description[name]) for name in _NUMBERS)
        candidates = [int(size) for size in str(description["candidates"]).split()]
        return cls(num_users, num_items, max_size, candidates, float(description[cls.rate_name]))


def _draw_again(modules: nn.Module, drawn: Tensor) -> None:
    """Draw the parameters of all layers again, seeded by the first of the values ``(r, c)`` that a backbone drew.

    A backbone's own generator is out of a table's sight, and what it drew says as much.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(drawn[0, :1].view(torch.int32)))
        for module in modules.modules():
            if isinstance(module, nn.Linear | nn.Embedding | nn.BatchNorm1d):
                module.reset_parameters()
