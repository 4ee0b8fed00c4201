"""Compositional embeddings with pruning: rows are sums of two rows of a small table."""

from __future__ import annotations

import torch
from torch import Tensor

from bet_lightning.tables.base import Description, EmbeddingTable, Fill, build_table
from bet_lightning.tables.soft_threshold import PrunedTable, SoftThresholdTable

_SHARPNESS = 100.0  # of the tanh that tells a sum from zero: eta of the paper, K of its code
_DECAY = 0.5  # of the loss's weight an epoch
_META = "meta_"  # what the description of the small table is prefixed with


class CompositionalTable(EmbeddingTable):
    r"""Row x of n is the sum of a row of each of two meta tables of b rows (Liang et al. 2023, arXiv 2309.03518).

    .. math:: e_x = P_{x \bmod b} + Q_{\lfloor x / \lceil n / b \rceil \rfloor}

    No two rows are the same sum if :math:`b \ge \sqrt{n}`. Users and items share both tables.

    Args:
        num_rows: Number of rows, n.
        meta: P and Q, one below the other: a table of 2b rows.

    Attributes:
        meta: See above.

    Raises:
        ValueError: If the meta table has an odd number of rows, or none.
    """

    def __init__(self, num_rows: int, meta: PrunedTable | SoftThresholdTable) -> None:
        super().__init__()
        if meta.num_rows < 2 or meta.num_rows % 2:
            raise ValueError(f"the meta table must have as many rows for P as for Q, got {meta.num_rows} in all")
        self.num_rows = num_rows
        self.max_size = meta.max_size
        self.meta = meta

    @property
    def num_buckets(self) -> int:
        """Rows of either meta table, b."""
        return self.meta.num_rows // 2

    @property
    def num_used(self) -> int:
        """Number of entries of both meta tables that are not pruned."""
        return self.meta.num_used

    @property
    def num_bytes(self) -> int:
        """Bytes of these entries, with an index of where they are; which rows are added up is computed."""
        return self.meta.num_bytes

    def reset_parameters(self, fill: Fill) -> None:
        """Draw entries so that sums vary as a table of the backbone does."""

        def fill_terms(values: Tensor) -> None:
            fill(values)
            with torch.no_grad():
                values.div_(2**0.5)

        self.meta.reset_parameters(fill_terms)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return the sums of all rows, or of some: see :meth:`EmbeddingTable.forward`."""
        if rows is None:
            first, second = self.terms(torch.arange(self.num_rows, device=self.meta.weight.device))
            meta: Tensor = self.meta()
            return meta.index_select(0, first) + meta.index_select(0, second)
        values: Tensor = self.meta(torch.cat(self.terms(rows)))
        return values[: len(rows)] + values[len(rows) :]

    def terms(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the meta table whose sums are ``rows``, ``(b,)`` int64 each."""
        buckets = self.num_buckets
        return rows % buckets, buckets + rows // -(-self.num_rows // buckets)

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        meta = {f"{_META}{name}": value for name, value in self.meta.describe().items()}
        return {"kind": type(self).__name__, "num_rows": self.num_rows, **meta}

    @classmethod
    def from_description(cls, description: Description) -> CompositionalTable:
        """Build the table again: see :meth:`EmbeddingTable.from_description`."""
        meta = build_table({k.removeprefix(_META): v for k, v in description.items() if k.startswith(_META)})
        if not isinstance(meta, PrunedTable | SoftThresholdTable):
            raise ValueError(f"meta tables are pruned, got {type(meta).__name__}")
        return cls(int(description["num_rows"]), meta)

    def extra_repr(self) -> str:
        """Show rows, buckets and the number of parameters."""
        return f"{self.num_rows}, max_size={self.max_size}, buckets={self.num_buckets}, used={self.num_used}"


class ComplementaryTable(CompositionalTable):
    r"""One whose thresholds are learned, with the paper's loss that makes P and Q complement each other.

    .. math:: -\gamma \cdot \operatorname{mean}_x \| \tanh(\eta e_x) \|^2, \qquad \eta = 100

    It is least where no entry of a sum is zero: of two entries that are added up, one at most is to be pruned.
    :math:`\gamma` halves after every epoch.

    Args:
        num_rows: Number of rows.
        meta: P and Q, one below the other.
        weight: Initial :math:`\gamma`.

    Attributes:
        complement: :math:`\gamma`, float32 scalar.
    """

    complement: Tensor

    def __init__(self, num_rows: int, meta: PrunedTable | SoftThresholdTable, weight: float = 1.0) -> None:
        super().__init__(num_rows, meta)
        self.register_buffer("complement", torch.tensor(weight))

    def row_loss(self, rows: Tensor) -> Tensor:
        """Return the loss that keeps the sums of some rows from zero."""
        saturated: Tensor = torch.tanh(_SHARPNESS * self(rows))
        return -self.complement * saturated.square().sum(1).mean()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Halve the weight of the loss."""
        self.complement.mul_(_DECAY)
