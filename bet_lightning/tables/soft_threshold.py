"""Tables whose single parameters are pruned: by thresholds that are learned, or by a mask that is fixed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Description, EmbeddingTable, Fill
from bet_lightning.tables.sparse_bytes import sparse_bytes

Granularity = Literal["global", "column", "row", "entry"]


class SoftThresholdTable(EmbeddingTable):
    r"""Full table whose entries shrink towards zero by learned thresholds (PEP, Liu et al. 2021, arXiv 2101.07577).

    .. math:: \hat{V} = \mathrm{sign}(V) \max(0, |V| - \sigma(s))

    Args:
        num_rows: Number of rows.
        max_size: Columns.
        granularity: What has a threshold of its own: the whole table, a ``column``, a ``row`` or an ``entry``.
        initial: Initial s.

    Attributes:
        weight: ``(num_rows, max_size)`` float32, V.
        threshold: s, of a shape that broadcasts to the weight's.

    Raises:
        ValueError: If the granularity is unknown.
    """

    def __init__(
        self, num_rows: int, max_size: int, granularity: Granularity = "entry", initial: float = -15.0
    ) -> None:
        super().__init__()
        if granularity not in get_args(Granularity):
            raise ValueError(f"granularity must be one of {', '.join(get_args(Granularity))}, got {granularity!r}")
        self.num_rows = num_rows
        self.max_size = max_size
        self.granularity: Granularity = granularity
        self.initial = initial
        rows = num_rows if granularity in ("row", "entry") else 1
        columns = max_size if granularity in ("column", "entry") else 1
        self.weight = nn.Parameter(torch.zeros(num_rows, max_size))
        self.threshold = nn.Parameter(torch.full((rows, columns), initial))

    @property
    def num_used(self) -> int:
        """Number of entries above their threshold."""
        return int((self.margin() > 0).sum())

    @property
    def num_bytes(self) -> int:
        """Bytes of the entries above their threshold, with an index."""
        return sparse_bytes(self.num_used, self.num_rows, self.max_size)

    @torch.no_grad()
    def margin(self) -> Tensor:
        r"""Return :math:`|V| - \sigma(s)`, ``(num_rows, max_size)``: by how much entries are above their thresholds."""
        return self.weight.abs() - self.threshold.sigmoid()

    def reset_parameters(self, fill: Fill) -> None:
        """Fill the weight as the backbone fills a table; thresholds go back to where they began."""
        fill(self.weight)
        nn.init.constant_(self.threshold, self.initial)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return shrunk rows: see :meth:`EmbeddingTable.forward`."""
        weight = self.weight if rows is None else self.weight.index_select(0, rows)
        by_row = rows is not None and self.threshold.shape[0] > 1
        threshold = self.threshold.index_select(0, rows) if by_row and rows is not None else self.threshold
        return weight.sign() * torch.relu(weight.abs() - threshold.sigmoid())

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        return {
            "kind": type(self).__name__,
            "num_rows": self.num_rows,
            "max_size": self.max_size,
            "granularity": self.granularity,
        }

    @classmethod
    def from_description(cls, description: Description) -> SoftThresholdTable:
        """Build the table again: see :meth:`EmbeddingTable.from_description`."""
        granularity = next(each for each in get_args(Granularity) if each == description["granularity"])
        return cls(int(description["num_rows"]), int(description["max_size"]), granularity)


class PrunedTable(EmbeddingTable):
    """Full table of which any entries are kept: an unstructured mask, fixed, that a deployed table pays an index for.

    Args:
        num_rows: Number of rows.
        max_size: Columns.
        mask: ``(num_rows, max_size)`` bool, the entries kept (default: all, to be loaded).

    Attributes:
        weight: ``(num_rows, max_size)`` float32.
    """

    mask: Tensor

    def __init__(self, num_rows: int, max_size: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.num_rows = num_rows
        self.max_size = max_size
        self.weight = nn.Parameter(torch.zeros(num_rows, max_size))
        kept = torch.ones(num_rows, max_size, dtype=torch.bool) if mask is None else mask.clone()
        self.register_buffer("mask", kept)

    @classmethod
    @torch.no_grad()
    def from_values(cls, values: Tensor, mask: Tensor) -> PrunedTable:
        """Return the table that keeps some of ``(num_rows, max_size)`` values."""
        num_rows, max_size = values.shape
        table = cls(num_rows, max_size, mask)
        table.weight.copy_(values.masked_fill(~mask, 0.0))
        return table

    @property
    def num_used(self) -> int:
        """Number of entries kept."""
        return int(self.mask.sum())

    @property
    def num_bytes(self) -> int:
        """Bytes of the entries kept, with an index."""
        return sparse_bytes(self.num_used, self.num_rows, self.max_size)

    def reset_parameters(self, fill: Fill) -> None:
        """Fill the whole weight, so that kept entries begin as they would in a full table."""
        fill(self.weight)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows with zeros for what is pruned: see :meth:`EmbeddingTable.forward`."""
        if rows is None:
            return self.weight.masked_fill(~self.mask, 0.0)
        return self.weight.index_select(0, rows).masked_fill(~self.mask[rows], 0.0)

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        return {"kind": type(self).__name__, "num_rows": self.num_rows, "max_size": self.max_size}
