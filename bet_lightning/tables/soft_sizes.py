"""The table that AutoEmb looks for sizes in: rows are mixtures of vectors of all candidate sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Fill
from bet_lightning.tables.candidate_sizes import CandidateSizesTable
from bet_lightning.tables.size_controller import POPULARITY_STEPS, RowNorm, SizeController


class SoftSizesTable(CandidateSizesTable):
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
        rate: Learning rate of the controllers, relative to the values'.
        popularity: ``(num_rows,)`` int64, see ``popularity_steps`` (default: to be loaded).

    Attributes:
        last_weights: ``(2, POPULARITY_STEPS, k)`` float32 by side and popularity, at first equal.
    """

    rate_name = "controller_rate"
    last_weights: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_size: int,
        candidates: Sequence[int],
        rate: float = 1.0,
        popularity: Tensor | None = None,
    ) -> None:
        super().__init__(num_users, num_items, max_size, candidates, rate, popularity)
        count = len(self.candidates)
        self.sides = nn.ModuleList(_Side(self.candidates, max_size) for _ in range(2))
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
        """Return the controllers: see :meth:`CandidateSizesTable.controllers`."""
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
        """Draw all parameters again, and forget last weights: see :meth:`CandidateSizesTable.reset_parameters`."""
        super().reset_parameters(fill)
        self.last_weights.fill_(1 / len(self.candidates))

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

    def preferences(self) -> Tensor:
        """Return the logarithms of weights: see :meth:`CandidateSizesTable.preferences`."""
        tiny = torch.finfo(torch.float32).tiny  # a weight may underflow to 0
        return self.all_weights().clamp(min=tiny).log()

    def read_side(self, side: int, rows: Tensor) -> Tensor:
        """Return mixed vectors: see :meth:`CandidateSizesTable.read_side`."""
        vectors: Tensor = self.sides[side](self.weight.index_select(0, rows), self.size_weights(side, rows))
        return vectors


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
