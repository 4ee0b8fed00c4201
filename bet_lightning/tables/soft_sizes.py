"""The table that AutoEmb looks for sizes in: rows are mixtures of vectors of all candidate sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Description, Fill
from bet_lightning.tables.sided import RowNorm, SidedTable, draw_again
from bet_lightning.tables.size_controller import POPULARITY_STEPS, SizeController


class SoftSizesTable(SidedTable):
    r"""Table of vectors of every candidate size, mixed by weights that a controller finds (AutoEmb, arXiv 2002.11252).

    .. math::
        \hat e_n = \sum_k w_{nk} \tanh(\mathrm{BN}(W_k e_{nk} + b_k)), \qquad
        w_n = \mathrm{softmax}(\mathrm{controller}(f_n, w_{f_n}^{\mathrm{last}}))

    :math:`e_{nk}` has :math:`d_k` values, f is the row's popularity and :math:`w_f^{\mathrm{last}}` what rows as
    popular were given when one of them was last trained; so a controller is asked once a popularity. Users and items
    have transformations and controllers of their own. Gradients reach the controllers only while sizes are
    :meth:`deciding`, so that they are trained on other data than the values.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns of a vector.
        candidates: Sizes, in ascending order.
        controller_rate: Learning rate of the controllers, relative to the values'.
        popularity: ``(num_rows,)`` int64, see ``popularity_steps`` (default: to be loaded).

    Attributes:
        weight: ``(num_rows, sum of candidates)`` float32, all vectors of a row one after another.
        last_weights: ``(2, POPULARITY_STEPS, k)`` float32 by side and popularity, at first equal.
    """

    popularity: Tensor
    last_weights: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_size: int,
        candidates: Sequence[int],
        controller_rate: float = 1.0,
        popularity: Tensor | None = None,
    ) -> None:
        super().__init__(num_users, num_items, max_size)
        self.candidates = tuple(candidates)
        self.controller_rate = controller_rate
        count = len(self.candidates)
        self.weight = nn.Parameter(torch.zeros(self.num_rows, sum(self.candidates)))
        self.sides = nn.ModuleList(_Side(self.candidates, max_size) for _ in range(2))
        steps = torch.zeros(self.num_rows, dtype=torch.int64) if popularity is None else popularity.clone()
        self.register_buffer("popularity", steps)
        self.register_buffer("last_weights", torch.full((2, POPULARITY_STEPS, count), 1 / count))
        self._deciding = False

    @property
    def num_used(self) -> int:
        """Number of values: all sizes of all rows."""
        return self.weight.numel()

    @property
    def num_bytes(self) -> int:
        """Bytes of the values."""
        return 4 * self.weight.numel()

    def controllers(self) -> list[SizeController]:
        """Return the controller of users and that of items."""
        return [cast(_Side, side).controller for side in self.sides]

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Let gradients reach the controllers, and leave last weights as they are."""
        self._deciding = True
        try:
            yield
        finally:
            self._deciding = False

    def reset_parameters(self, fill: Fill) -> None:
        """Fill vectors of every size with what the backbone draws, and draw all else again from its first value."""
        drawn = torch.zeros(self.num_rows, self.max_size, device=self.weight.device)
        fill(drawn)
        with torch.no_grad():
            self.weight.copy_(torch.cat([drawn[:, :size] for size in self.candidates], dim=1))
            self.last_weights.fill_(1 / len(self.candidates))
        draw_again(self.sides, drawn)

    def relative_rates(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Return the rate of controllers: see :meth:`EmbeddingTable.relative_rates`."""
        for controller in self.controllers():
            yield from ((parameter, self.controller_rate) for parameter in controller.parameters())

    def size_weights(self, side: int, rows: Tensor) -> Tensor:
        """Return the weights ``(r, k)`` of sizes for rows ``(r,)`` of a side."""
        popularity, places = self.popularity[rows].unique(return_inverse=True)
        with torch.set_grad_enabled(self._deciding and torch.is_grad_enabled()):
            scores = self.controllers()[side](popularity, self.last_weights[side, popularity])
            weights = torch.softmax(scores, dim=1)
        if self.training and not self._deciding:
            self.last_weights[side, popularity] = weights
        return weights.index_select(0, places)

    @torch.no_grad()
    def all_weights(self) -> Tensor:
        """Return the weights ``(num_rows, k)`` of sizes for all rows, in evaluation mode."""
        training = self.training
        self.eval()
        weights = self.by_side(self.size_weights, torch.arange(self.num_rows, device=self.weight.device))
        self.train(training)
        return weights

    def read_side(self, side: int, rows: Tensor) -> Tensor:
        """Return mixed vectors: see :meth:`SidedTable.read_side`."""
        vectors: Tensor = self.sides[side](self.weight.index_select(0, rows), self.size_weights(side, rows))
        return vectors

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        numbers = {name: int(getattr(self, name)) for name in ("num_users", "num_items", "max_size")}
        sizes = " ".join(map(str, self.candidates))
        return {
            "kind": type(self).__name__,
            **numbers,
            "candidates": sizes,
            "controller_rate": str(self.controller_rate),
        }

    @classmethod
    def from_description(cls, description: Description) -> SoftSizesTable:
        """Build the table again: see :meth:`EmbeddingTable.from_description`."""
        num_users, num_items, max_size = (int(description[name]) for name in ("num_users", "num_items", "max_size"))
        candidates = [int(size) for size in str(description["candidates"]).split()]
        return cls(num_users, num_items, max_size, candidates, float(description["controller_rate"]))


class _Side(nn.Module):
    """How vectors of one side's rows are mixed.

    Args:
        candidates: Sizes.
        max_size: Columns of a vector.
    """

    def __init__(self, candidates: Sequence[int], max_size: int) -> None:
        super().__init__()
        self.candidates = list(candidates)
        self.transforms = nn.ModuleList(nn.Linear(size, max_size) for size in candidates)
        self.norm = RowNorm(max_size)
        self.controller = SizeController(len(candidates), len(candidates))

    def forward(self, values: Tensor, weights: Tensor) -> Tensor:
        """Mix vectors ``(r, sum of sizes)`` by weights ``(r, k)`` to ``(r, max_size)``."""
        parts = zip(values.split(self.candidates, dim=1), self.transforms, weights.unbind(1), strict=True)
        mixed = (weight.unsqueeze(1) * torch.tanh(self.norm(transform(part))) for part, transform, weight in parts)
        return reduce(torch.add, mixed)
