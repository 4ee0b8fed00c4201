"""What tables with a size for every row share: reading rows so that an optimiser may leave the others alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from bet_lightning.table_format import size_bytes
from bet_lightning.tables.base import EmbeddingTable

if TYPE_CHECKING:
    from bet_lightning.tables.masked import MaskedEmbedding


class RowUpdates(Protocol):
    """An optimiser that updates the rows that gradients are of, and puts off what it owes the others."""

    def read(self, table: PrefixTable, rows: Tensor, width: int) -> Tensor:
        """Return the first columns of rows ``(r,)`` as they should be by now, ``(r, width)``, zero beyond sizes.

        No row may have more columns.
        """

    def bring_up_to_date(self, table: PrefixTable) -> None:
        """Do all that was put off."""

    def take_gradient(self, table: PrefixTable, rows: Tensor, gradient: Tensor) -> None:
        """Take the gradient ``(r, width)`` of rows ``(r,)`` that were read, repeats apart."""


class PrefixTable(EmbeddingTable):
    """A table whose row n has ``sizes[n]`` values.

    Attributes:
        sizes: ``(num_rows,)`` integers.
        row_updates: The optimiser that rows are read through, and that takes their gradients in the place of one of the
            whole table; None for ordinary gradients. It belongs to a training: copies of the table are without it.
    """

    sizes: Tensor
    row_updates: RowUpdates | None = None

    @property
    def parameter(self) -> nn.Parameter:
        """The values, of all rows one after another: a table has no other parameter."""
        (values,) = self.parameters()
        return values

    @property
    def num_used(self) -> int:
        """Number of parameters that count towards a budget: the sum of the sizes."""
        return int(self.sizes.sum(dtype=torch.int64))

    @property
    def num_bytes(self) -> int:
        """Bytes of the packed table as float32: values, and the size of every row unless the table is full."""
        used = self.num_used
        full = used == self.num_rows * self.max_size
        return 4 * used + (0 if full else size_bytes(self.max_size) * self.num_rows)

    @abstractmethod
    def to_masked(self) -> MaskedEmbedding:
        """Return a masked table that reads the same: itself if it is one without levels."""

    @abstractmethod
    def _vectors(self, rows: Tensor | None, width: int) -> Tensor:
        """Return the first columns of some rows, or of all."""

    def _decoded(self, values: Tensor, rows: Tensor | None) -> Tensor:
        """Return what values of rows, zero beyond sizes, read as."""
        return values

    def _read(self, rows: Tensor | None, width: int) -> Tensor:
        """Return the first columns of some rows, or of all, as they should be by now."""
        if self.row_updates is None or rows is None:
            self.bring_up_to_date()
            return self._vectors(rows, width)
        vectors: Tensor = _RowsRead.apply(self.parameter, self, rows, width)  # type: ignore[no-untyped-call]
        return vectors

    def bring_up_to_date(self) -> None:
        """Let the optimiser do what it has put off, before values or sizes are read or written in another way."""
        if self.row_updates is not None:
            self.row_updates.bring_up_to_date(self)

    def extra_repr(self) -> str:
        """Show the shape and the number of parameters in use."""
        return f"{self.num_rows}, max_size={self.max_size}, used={self.num_used}"

    def _save_to_state_dict(self, *args: Any) -> None:
        self.bring_up_to_date()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.bring_up_to_date()
        super()._load_from_state_dict(*args)

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies have."""
        self.bring_up_to_date()
        return {name: value for name, value in vars(self).items() if name != "row_updates"}


class _RowsRead(torch.autograd.Function):
    """Rows that an optimiser hands out, and takes the gradient of."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, table: PrefixTable, rows: Tensor, width: int) -> Tensor:
        assert table.row_updates is not None
        ctx.table, ctx.rows = table, rows
        return table._decoded(table.row_updates.read(table, rows, width), rows)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, None, None, None]:
        ctx.table.row_updates.take_gradient(ctx.table, ctx.rows, grads[0].contiguous())
        return None, None, None, None
