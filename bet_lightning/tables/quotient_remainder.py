"""Compositional embeddings: rows share the factors that they are products of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Description, EmbeddingTable, Fill


class QuotientRemainderTable(EmbeddingTable):
    r"""Row x of a side is the product of two shared rows (Shi et al. 2020, KDD, arXiv 1909.02107).

    .. math:: e_x = Q_{\lfloor x / m \rfloor} \odot R_{x \bmod m}

    Users and items have factors of their own. With :math:`m = 1` every row has a quotient to itself.

    Args:
        num_users: Rows of users, at least 1.
        num_items: Rows of items, at least 1.
        max_size: Columns of a row.
        user_divisor: m of the users, in ``1..num_users``.
        item_divisor: m of the items, in ``1..num_items``.

    Attributes:
        quotients: ``(quotients of users and of items, max_size)`` float32.
        remainders: ``(user_divisor + item_divisor, max_size)`` float32.

    Raises:
        ValueError: If a divisor is out of range.
    """

    def __init__(self, num_users: int, num_items: int, max_size: int, user_divisor: int, item_divisor: int) -> None:
        super().__init__()
        for name, divisor, count in (("user", user_divisor, num_users), ("item", item_divisor, num_items)):
            if not 1 <= divisor <= count:
                raise ValueError(f"{name}_divisor must be in 1..{count}, got {divisor}")
        self.num_users = num_users
        self.num_items = num_items
        self.num_rows = num_users + num_items
        self.max_size = max_size
        self.user_divisor = user_divisor
        self.item_divisor = item_divisor
        self.user_quotients = -(-num_users // user_divisor)
        item_quotients = -(-num_items // item_divisor)
        self.quotients = nn.Parameter(torch.zeros(self.user_quotients + item_quotients, max_size))
        self.remainders = nn.Parameter(torch.zeros(user_divisor + item_divisor, max_size))

    @property
    def num_used(self) -> int:
        """Number of parameters: both factors."""
        return self.quotients.numel() + self.remainders.numel()

    @property
    def num_bytes(self) -> int:
        """Bytes of both factors as float32: rows are found by division."""
        return 4 * self.num_used

    def reset_parameters(self, fill: Fill) -> None:
        """Draw quotients as the backbone draws a table, remainders with unit deviation: products vary like a table."""
        fill(self.quotients)
        fill(self.remainders)
        with torch.no_grad():
            self.remainders.div_(self.remainders.std().clamp(min=torch.finfo(torch.float32).tiny))

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return the products of all rows, or of some: see :meth:`EmbeddingTable.forward`."""
        if rows is None:
            rows = torch.arange(self.num_rows, device=self.quotients.device)
        item = rows - self.num_users
        is_user = item < 0
        quotient = torch.where(is_user, rows // self.user_divisor, item // self.item_divisor + self.user_quotients)
        remainder = torch.where(is_user, rows % self.user_divisor, item % self.item_divisor + self.user_divisor)
        return self.quotients.index_select(0, quotient) * self.remainders.index_select(0, remainder)

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        names = ("num_users", "num_items", "max_size", "user_divisor", "item_divisor")
        return {"kind": type(self).__name__, **{name: getattr(self, name) for name in names}}

    def extra_repr(self) -> str:
        """Show rows, divisors and the number of parameters."""
        return f"{self.num_rows}, divisors={(self.user_divisor, self.item_divisor)}, used={self.num_used}"
