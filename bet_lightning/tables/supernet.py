"""The table that OptEmbed looks for sizes in: every prefix of its rows is trained, and thresholds drop rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Description, EmbeddingTable, Fill
from bet_lightning.tables.sparse_bytes import sparse_bytes


class SupernetTable(EmbeddingTable):
    r"""Full table trained in random prefixes, less rows of small norm (OptEmbed, Lyu et al. 2022, arXiv 2208.04482).

    .. math::
        \hat e_n = [\|e_n\|_1 > t_{s(n)}] \, (e_n \odot m_{d_{s(n)}}), \qquad d_s \sim U\{1, \dots, D\}

    s(n) is the side of a row, users or items, :math:`m_d` the mask of the first d columns. While it is trained, a
    prefix a side is drawn at every read; otherwise all columns are read. The step passes the paper's long-tailed
    gradient: :math:`2 - 4|x|` up to 0.4 and 0.4 up to 1, x being by how much a norm is above its threshold.

    Args:
        num_users: Rows of users.
        num_items: Rows of items.
        max_size: Columns.
        threshold_rate: Learning rate of thresholds, relative to the values'.

    Attributes:
        weight: ``(num_rows, max_size)`` float32.
        thresholds: ``(2,)`` float32, t of users and of items, at first 0.
    """

    def __init__(self, num_users: int, num_items: int, max_size: int, threshold_rate: float = 1.0) -> None:
        super().__init__()
        self.num_users = num_users
        self.num_items = num_items
        self.num_rows = num_users + num_items
        self.max_size = max_size
        self.threshold_rate = threshold_rate
        self.weight = nn.Parameter(torch.zeros(self.num_rows, max_size))
        self.thresholds = nn.Parameter(torch.zeros(2))

    @property
    def num_used(self) -> int:
        """Parameters of the rows whose norm is above their threshold."""
        return int((self.margin() > 0).sum()) * self.max_size

    @property
    def num_bytes(self) -> int:
        """Bytes of the values of these rows, with an index."""
        return sparse_bytes(self.num_used, self.num_rows, self.max_size)

    @torch.no_grad()
    def margin(self) -> Tensor:
        """Return by how much the norms of rows are above their thresholds, ``(num_rows,)``."""
        return self._margin(self.weight, self._sides(None))

    def reset_parameters(self, fill: Fill) -> None:
        """Fill the weight as the backbone fills a table; thresholds go back to 0, where no row is dropped."""
        fill(self.weight)
        nn.init.zeros_(self.thresholds)

    def relative_rates(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Return the rate of thresholds: see :meth:`EmbeddingTable.relative_rates`."""
        return [(self.thresholds, self.threshold_rate)]

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows, zero where they are dropped and behind the prefix: see :meth:`EmbeddingTable.forward`."""
        weight = self.weight if rows is None else self.weight.index_select(0, rows)
        sides = self._sides(rows)
        kept: Tensor = _Step.apply(self._margin(weight, sides))  # type: ignore[no-untyped-call]
        vectors = weight * kept.unsqueeze(1)
        if not self.training:
            return vectors
        # from the CPU's generator, as dropout is drawn: every device and every resumed run sees the same
        prefixes = torch.randint(1, self.max_size + 1, (2,)).to(weight.device)
        columns = torch.arange(self.max_size, device=weight.device)
        return vectors.masked_fill(columns >= prefixes[sides].unsqueeze(1), 0.0)

    def _margin(self, weight: Tensor, sides: Tensor) -> Tensor:
        return weight.abs().sum(1) - self.thresholds.index_select(0, sides)

    def _sides(self, rows: Tensor | None) -> Tensor:
        """``(b,)`` int64: 0 for users, 1 for items."""
        rows = torch.arange(self.num_rows, device=self.weight.device) if rows is None else rows
        return (rows >= self.num_users).long()

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        names = ("num_users", "num_items", "max_size")
        numbers = {name: int(getattr(self, name)) for name in names}
        return {"kind": type(self).__name__, **numbers, "threshold_rate": str(self.threshold_rate)}

    @classmethod
    def from_description(cls, description: Description) -> SupernetTable:
        """Build the table again: see :meth:`EmbeddingTable.from_description`."""
        num_users, num_items, max_size = (int(description[name]) for name in ("num_users", "num_items", "max_size"))
        return cls(num_users, num_items, max_size, float(description["threshold_rate"]))


class _Step(torch.autograd.Function):
    """1 above zero, else 0, with the long-tailed estimate of a gradient."""

    @staticmethod
    def forward(ctx: Any, margin: Tensor) -> Tensor:
        ctx.save_for_backward(margin)
        return (margin > 0).to(margin.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        size = ctx.saved_tensors[0].abs()
        slope = torch.where(size <= 0.4, 2 - 4 * size, torch.where(size <= 1, 0.4, 0.0))
        gradient: Tensor = grads[0]
        return gradient * slope
