"""The table that ESAPN looks for sizes in: every row has one of some sizes, and can only grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Fill
from bet_lightning.tables.candidate_sizes import CandidateSizesTable
from bet_lightning.tables.size_controller import RowNorm, SizeController

_LEAST = 1e-6  # preference for a size that was reached over its neighbours


class GrownSizesTable(CandidateSizesTable):
    r"""Table whose rows grow from size to size as a policy says (ESAPN, Liu et al. 2020, SIGIR).

    .. math::
        \hat e_n = \tanh(\mathrm{BN}(W_{K-1} \cdots W_{k} \, e_{nk})), \qquad k = \mathrm{level}_n

    :math:`W_k` brings a vector of the k-th size to the next. A row that grows begins with :math:`W_k e_{nk}`. Each
    level has batch statistics of its own, over the rows that have it. Users and items have layers and policies of their
    own.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns of a vector: the last candidate.
        candidates: Sizes, in ascending order.
        rate: Learning rate of the policies, relative to the values'.
        popularity: ``(num_rows,)`` int64, see ``popularity_steps`` (default: to be loaded).

    Attributes:
        levels: ``(num_rows,)`` int64, numbers of the candidates that rows have, at first 0.
        last_rewards: ``(num_rows,)`` float32, what rows were last rewarded with, at first 0.
    """

    rate_name = "policy_rate"
    levels: Tensor
    last_rewards: Tensor

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
        self.sides = nn.ModuleList(_Side(self.candidates) for _ in range(2))
        self.register_buffer("levels", torch.zeros(self.num_rows, dtype=torch.int64))
        self.register_buffer("last_rewards", torch.zeros(self.num_rows))

    @property
    def sizes(self) -> Tensor:
        """``(num_rows,)`` int64, the present size of every row."""
        return torch.tensor(self.candidates, device=self.levels.device)[self.levels]

    @property
    def num_used(self) -> int:
        """The sum of the present sizes."""
        return int(self.sizes.sum())

    @property
    def num_bytes(self) -> int:
        """Bytes of these values and of a size a row."""
        return 4 * self.num_used + self.num_rows

    def side(self, number: int) -> _Side:
        """Return the layers and the policy of users (0) or of items (1)."""
        return cast(_Side, self.sides[number])

    def reset_parameters(self, fill: Fill) -> None:
        """Draw all parameters again, and let rows be small: see :meth:`CandidateSizesTable.reset_parameters`."""
        super().reset_parameters(fill)
        self.levels.zero_()
        self.last_rewards.zero_()

    def controllers(self) -> list[SizeController]:
        """Return the policies: see :meth:`CandidateSizesTable.controllers`."""
        return [self.side(number).policy for number in range(2)]

    def read_side(self, side: int, rows: Tensor) -> Tensor:
        """Return the vectors of rows' present sizes: see :meth:`CandidateSizesTable.read_side`."""
        return self.side(side).read(self.weight.index_select(0, rows), self.levels[rows])

    def scores(self, rows: Tensor, levels: Tensor) -> Tensor:
        """Return the policies' scores ``(r, 2)`` of keeping and of growing for rows ``(r,)`` at some levels."""
        states = nn.functional.one_hot(levels, len(self.candidates)).float()

        def of_side(side: int, mine: Tensor, states: Tensor) -> Tensor:
            scores: Tensor = self.side(side).policy(self.popularity[mine], states)
            return scores

        return self.by_side(of_side, rows, states)

    @torch.no_grad()
    def grow(self, rows: Tensor) -> None:
        """Let distinct rows ``(r,)`` grow by one size each; those of the largest stay."""
        before = self.levels[rows]
        parts = self.weight.split(self.candidates, dim=1)
        for level in range(len(self.candidates) - 1):
            for side, is_mine in enumerate((rows < self.num_users, rows >= self.num_users)):
                mine = rows[is_mine & (before == level)]
                parts[level + 1][mine] = self.side(side).layers[level](parts[level][mine])
        self.levels[rows] = (before + 1).clamp(max=len(self.candidates) - 1)

    @contextmanager
    def grown(self, rows: Tensor) -> Iterator[None]:
        """Let distinct rows be larger by one size for a while."""
        before = self.levels.clone()
        self.grow(rows)
        try:
            yield
        finally:
            self.levels.copy_(before)

    @torch.no_grad()
    def preferences(self) -> Tensor:
        """Return how much rows are to have each size, ``(num_rows, k)``: most for the size that they have.

        From size to size it rises up to the present one, and falls beyond, by the policy's log odds of growing; where
        these say otherwise, by next to nothing.
        """
        training = self.training
        self.eval()
        rows = torch.arange(self.num_rows, device=self.levels.device)
        odds = []
        for level in range(len(self.candidates) - 1):
            scores = self.scores(rows, torch.full_like(rows, level))
            log_odds = scores[:, 1] - scores[:, 0]
            reached = self.levels > level
            odds.append(torch.where(reached, log_odds.clamp(min=_LEAST), log_odds.clamp(max=-_LEAST)))
        self.train(training)
        start = torch.zeros(self.num_rows, 1, device=self.levels.device)
        return torch.cat([start, *(each.unsqueeze(1) for each in odds)], dim=1).cumsum(1)


class _Side(nn.Module):
    """Layers and policy of one side's rows.

    Args:
        candidates: Sizes; the last is the width of a vector.
    """

    def __init__(self, candidates: Sequence[int]) -> None:
        super().__init__()
        self.candidates = list(candidates)
        self.layers = nn.ModuleList(nn.Linear(size, following) for size, following in pairwise(candidates))
        self.norm = RowNorm(candidates[-1])
        self.policy = SizeController(len(candidates), 2)

    def read(self, values: Tensor, levels: Tensor) -> Tensor:
        """Return vectors ``(r, max_size)`` of values ``(r, sum of sizes)`` at levels ``(r,)``."""
        vectors, places = [], []
        for level, part in enumerate(values.split(self.candidates, dim=1)):
            mine = (levels == level).nonzero().squeeze(1)
            if len(mine):
                vector = part.index_select(0, mine)
                for layer in self.layers[level:]:
                    vector = layer(vector)
                vectors.append(torch.tanh(self.norm(vector)))
                places.append(mine)
        return torch.cat(vectors).index_select(0, torch.cat(places).argsort())
