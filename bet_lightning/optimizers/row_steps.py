"""The steps that one table has seen, and what rows that missed some of them are owed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bet_lightning.optimizers.row_kernels import Kernels, Owed, RowState, kernels
from bet_lightning.tables.packed import PackedEmbedding
from bet_lightning.tables.prefix_table import PrefixTable

_REMEMBERED = 300  # missed steps that still move a row: (beta1 / sqrt(beta2)) to this power is below 1e-13
_TINY = np.finfo(np.float32).tiny  # in the place of zero, where the learning rate is
_LEAST_A_THREAD = 50_000  # rows that a thread is worth, which has to be started and competes with those of torch


class RowSteps:
    """Adam's steps on single rows of a table, counted since all of them were up to date.

    Args:
        table: The table.
        betas: Decay of the means of gradients and of their squares.

    Attributes:
        gradients: Rows and their gradients ``(r, width)`` since the last step.
    """

    def __init__(self, table: PrefixTable, betas: Sequence[float]) -> None:
        self.table = table
        self.gradients: list[tuple[Tensor, Tensor]] = []
        self._count = 0
        self._seen = np.zeros(table.num_rows, np.int32)
        self._owed = Owed(np.zeros(0, np.float32), *np.ones((3, 0), np.float32))
        self._make_room(betas)

    def read(self, state: Mapping[str, Tensor], rows: Tensor, width: int) -> Tensor:
        """Return the first columns of rows as they should be by now, ``(r, width)``, zero beyond sizes.

        Args:
            state: What Adam keeps of the table.
            rows: ``(r,)`` int64.
            width: Columns.
        """
        out = torch.empty(len(rows), width)
        _in_parts(_kernels().read, len(rows), out.numpy(), self._arrays(state), self._owed, rows.numpy())
        return out

    def catch_up(self, state: Mapping[str, Tensor]) -> None:
        """Bring all rows up to date, and count from zero again."""
        if self._count:
            _in_parts(_kernels().catch_up, self.table.num_rows, self._arrays(state), self._owed, self._count)
            self._seen.fill(0)
            self._owed.moves[0] = 0
            self._count = 0

    def step(self, state: Mapping[str, Tensor], group: Mapping[str, Any]) -> None:
        """Make a step with the gradients taken; rows without one are owed it.

        Args:
            state: What Adam keeps of the table.
            group: Learning rate, betas and eps.
        """
        state["step"].add_(1)
        step, betas = float(state["step"]), group["betas"]
        unbiased = math.sqrt(1 - betas[1] ** step)
        rate, eps = float(group["lr"]) * unbiased / (1 - betas[0] ** step), group["eps"] * unbiased
        self._count += 1
        self._make_room(betas)
        if self.gradients:
            rows, gradients = (each.numpy() for each in _joined(self.gradients))
            self.gradients.clear()
            arrays, before = self._arrays(state), np.empty(len(rows), np.int32)
            _kernels().link(arrays, rows, before)
            told = arrays, self._owed, rows, before, gradients, self._count, rate, betas, eps
            _in_parts(_kernels().step, len(rows), *told)
        self._owe(rate, eps, betas[0] / math.sqrt(betas[1]))

    def _make_room(self, betas: Sequence[float]) -> None:
        """Have numbers for one more step."""
        if self._count < len(self._owed.moves):
            return
        more = np.zeros(len(self._owed.moves) + 256, np.float32)
        moves = np.concatenate([self._owed.moves, more])
        eps = np.concatenate([self._owed.eps, more + _TINY])  # never zero: rows without a gradient have no mean square
        missed = np.arange(len(moves), dtype=np.float64)
        self._owed = Owed(moves, eps, *((beta**missed).astype(np.float32) for beta in betas))

    def _owe(self, rate: float, eps: float, decay: float) -> None:
        """Note how far rows move that missed the step."""
        moves, its_eps = self._owed.moves, self._owed.eps
        earlier = slice(max(0, self._count - _REMEMBERED), self._count)
        moved = rate * decay ** np.arange(self._count - earlier.start, 0, -1)
        moves[earlier] += moved
        its_eps[earlier] += (eps - its_eps[earlier]) * moved / np.maximum(moves[earlier], _TINY)
        moves[self._count] = 0

    def _arrays(self, state: Mapping[str, Tensor]) -> RowState:
        table = self.table
        starts = table.starts.numpy() if isinstance(table, PackedEmbedding) else np.zeros(0, np.int64)
        held = (table.parameter, state["exp_avg"], state["exp_avg_sq"])
        values, first, second = (each.detach().flatten().numpy() for each in held)
        return RowState(values, first, second, self._seen, starts, table.sizes.numpy(), table.max_size)


def _joined(gradients: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return rows and gradients of several reads as one, padded to the widest."""
    if len(gradients) == 1:
        return gradients[0]
    width = max(gradient.shape[1] for _, gradient in gradients)
    padded = [functional.pad(gradient, (0, width - gradient.shape[1])) for _, gradient in gradients]
    return torch.cat([rows for rows, _ in gradients]), torch.cat(padded)


def _kernels() -> Kernels:
    compiled = kernels()
    assert compiled is not None  # without them there is no RowAdam
    return compiled


def _in_parts(kernel: Callable[..., None], count: int, *arguments: object) -> None:
    """Call a kernel on the numbers below a count, a part a thread: its last two arguments are where a part lies."""
    num_threads = max(1, min(torch.get_num_threads(), count // _LEAST_A_THREAD))
    if num_threads == 1:
        kernel(*arguments, 0, count)
        return
    bounds = np.linspace(0, count, num_threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(lambda begin, end: kernel(*arguments, begin, end), bounds[:-1], bounds[1:]))
