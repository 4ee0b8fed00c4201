"""What every backbone offers: tables with sizes, scores of triplets to train, scores of all items to rank."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from bet_lightning.backbones.abilities import Refit
from bet_lightning.backbones.graph import Edges
from bet_lightning.backbones.recipe import Recipe
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.table_format import TableFormat, TableShape
from bet_lightning.tables.base import EmbeddingTable, Fill
from bet_lightning.tables.masked import MaskedEmbedding, check_sizes
from bet_lightning.tables.packed import PackedEmbedding
from bet_lightning.tables.prefix_table import PrefixTable
from bet_lightning.tables.quantized import QuantizedEmbedding


class Backbone(nn.Module, ABC):
    """Recommender over embedding tables; a table has one row per user, then one row per item.

    Tables are at first masked: full, with a size a row. :meth:`pack` leaves no more of them than their sizes, and
    :meth:`use_tables` puts tables of any other form in their place. All are trained and ranked with in the same way;
    what changes sizes, basis or whole rows needs masked ones. What a backbone can do beyond this is in
    ``backbones/abilities.py``. Arguments of one name have one default in all backbones, because the command line hands
    those of the default backbone on to whichever is chosen instead.

    Args:
        edges: Unique training interactions; they fix the numbers of users and items.
        max_size: Columns of each full table.
        num_tables: Number of tables; each has ``num_users + num_items`` rows.

    Attributes:
        rebuilds_rows: Whether a row of size 0 still gets a vector, from its neighbours in the graph.
        looks_rows_up: Whether training reads no rows of the tables but a batch's.
        scoring_settings: Names of the attributes that scores depend on besides weights and edges, all plain numbers.
        recipe: How it is trained where a user says nothing.
        tables: The tables, all of one shape and one form.
        frequency: ``(num_rows,)`` float32, training interactions of each row.

    Raises:
        ValueError: If the numbers of users and items or ``max_size`` is out of range.
    """

    rebuilds_rows: bool
    looks_rows_up: ClassVar[bool] = False
    scoring_settings: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Recipe] = Recipe()
    frequency: Tensor

    def __init__(self, edges: Edges, max_size: int = 128, num_tables: int = 1) -> None:
        super().__init__()
        if edges.num_users < 1 or edges.num_items < 1:
            raise ValueError(f"edges must have users and items, got {edges.num_users} and {edges.num_items}")
        self.num_users = edges.num_users
        self.num_items = edges.num_items
        self.num_rows = edges.num_users + edges.num_items
        self.max_size = max_size
        self.tables = nn.ModuleList(MaskedEmbedding(self.num_rows, max_size) for _ in range(num_tables))
        sides = ((edges.users, self.num_users), (edges.items, self.num_items))
        frequency = torch.cat([torch.bincount(rows, minlength=count) for rows, count in sides])
        self.register_buffer("frequency", frequency.float(), persistent=False)

    def table(self, index: int = 0) -> EmbeddingTable:
        """Return one of the tables."""
        return cast(EmbeddingTable, self.tables[index])

    def prefix_table(self, index: int = 0) -> PrefixTable:
        """Return one of the tables for what needs sizes.

        Raises:
            ValueError: If it is no prefix table.
        """
        table = self.table(index)
        if not isinstance(table, PrefixTable):
            raise ValueError(f"a table with a size for every row is needed, got {type(table).__name__}")
        return table

    def masked_table(self, index: int = 0) -> MaskedEmbedding:
        """Return one of the tables for what needs all of its columns.

        Raises:
            ValueError: If it is not masked.
        """
        table = self.prefix_table(index)
        if not isinstance(table, MaskedEmbedding):
            raise ValueError("the tables are packed: unpack() them before their sizes, basis or whole rows are changed")
        return table

    @property
    def has_prefix_tables(self) -> bool:
        """Whether every row has a size: the tables are masked, packed, or shared out by columns."""
        return isinstance(self.table(), PrefixTable)

    @property
    def is_packed(self) -> bool:
        """Whether the tables hold no more than their sizes."""
        return isinstance(self.table(), PackedEmbedding)

    def use_tables(self, tables: Sequence[EmbeddingTable]) -> None:
        """Put other tables in the place of the present ones: new parameters, which an optimiser is yet to be given.

        Args:
            tables: As many as there are, each of the same shape; moved to the device of the present ones.

        Raises:
            ValueError: If their number or a shape differs.
        """
        shapes = [(table.num_rows, table.max_size) for table in tables]
        if shapes != [(self.num_rows, self.max_size)] * len(self.tables):
            raise ValueError(f"tables must be {len(self.tables)} of {(self.num_rows, self.max_size)}, got {shapes}")
        device = self.frequency.device
        for index, table in enumerate(tables):
            self.tables[index] = table.to(device)

    @property
    def dtype(self) -> Dtype:
        """What values of prefix tables are held as."""
        table = self.table()
        return table.dtype if isinstance(table, QuantizedEmbedding) else "fp32"

    def use_masked_tables(self, dtype: Dtype = "fp32") -> None:
        """Replace tables of any other form by masked ones, packed and quantised ones by what they read as.

        Args:
            dtype: What their values are held as: quantised tables where it has levels.
        """
        if self.has_prefix_tables:
            self.unpack()
        else:
            self.use_tables([MaskedEmbedding(self.num_rows, self.max_size) for _ in self.tables])
        self.quantize(dtype)

    def quantize(self, dtype: Dtype) -> None:
        """Replace masked tables by quantised ones if a dtype has levels, with the steps of least error.

        Args:
            dtype: What values are held as.
        """
        if dtype in LEVELS:
            for index in range(len(self.tables)):
                self.tables[index] = QuantizedEmbedding.from_masked(self.masked_table(index), dtype)

    def end_epoch(self) -> None:
        """Let every table do what is due after an epoch of training."""
        for index in range(len(self.tables)):
            self.table(index).end_epoch()

    def pack(self) -> None:
        """Replace masked tables by packed ones: new parameters, which an optimiser is yet to be given.

        Quantised tables stay: what is trained of them is not rounded.
        """
        for index, table in enumerate(self.tables):
            if isinstance(table, MaskedEmbedding) and not isinstance(table, QuantizedEmbedding):
                self.tables[index] = PackedEmbedding.from_masked(table)

    def unpack(self) -> None:
        """Replace tables by masked ones that read the same, packed and quantised ones by new parameters."""
        for index in range(len(self.tables)):
            self.tables[index] = self.prefix_table(index).to_masked()

    @property
    def shape(self) -> TableShape:
        """The full table that budgets are relative to."""
        return TableShape(self.num_users, self.num_items, self.row_width, len(self.tables))

    @property
    def row_width(self) -> int:
        """Largest size of a row: its parameters over all tables."""
        return len(self.tables) * self.max_size

    @property
    def sizes(self) -> Tensor:
        """``(num_rows,)`` int64, parameters of each row over all prefix tables."""
        return torch.stack([self.prefix_table(t).sizes.long() for t in range(len(self.tables))]).sum(0)

    @property
    def num_used(self) -> int:
        """Number of embedding parameters: what a budget caps."""
        return sum(self.table(t).num_used for t in range(len(self.tables)))

    @property
    def num_bytes(self) -> int:
        """Bytes of the deployed tables, as written; prefix tables of one backbone share the sizes of rows."""
        if self.has_prefix_tables:
            return TableFormat(self.dtype).num_bytes(self.shape, self.sizes)
        return sum(self.table(t).num_bytes for t in range(len(self.tables)))

    def set_sizes(self, sizes: Tensor) -> None:
        """Share the size of every row evenly among the tables; the first tables take what is left over.

        Table ``t`` of ``T`` gets ``(sizes + T - 1 - t) // T``, which sums to ``sizes`` over the tables.

        Args:
            sizes: ``(num_rows,)`` integers in ``0..row_width``.

        Raises:
            ValueError: If the shape, the dtype or a value of ``sizes`` is wrong, or the tables are packed.
        """
        check_sizes(sizes, self.num_rows, self.row_width)
        num_tables = len(self.tables)
        # int64 first: adding to uint8 sizes could wrap around.
        wide = sizes.long()
        for index in range(num_tables):
            self.masked_table(index).set_sizes((wide + num_tables - 1 - index) // num_tables)

    def cut(self, sizes: Tensor, refit: Refit = Refit(), dtype: Dtype = "fp32") -> None:
        """Set the sizes of full tables, round their values, and compensate for what that takes, where a backbone can.

        Args:
            sizes: ``(num_rows,)`` integers in ``0..row_width``.
            refit: How to compensate; without steps, kept parameters stay as they are.
            dtype: What values are held as.

        Raises:
            ValueError: If the shape, the dtype or a value of ``sizes`` is wrong, a row is cut already or the tables are
                packed.
        """
        self.check_full()
        self.set_sizes(sizes)
        self.quantize(dtype)

    def check_full(self) -> None:
        """Refuse to change the basis of tables that are masked: what is cut off could not be brought back.

        Raises:
            ValueError: If a row has less than its full size.
        """
        if self.num_used < self.num_rows * self.row_width:
            raise ValueError(
                f"the basis of a table can be changed at its full size only, got {self.num_used} of "
                f"{self.num_rows * self.row_width} parameters"
            )

    def reset_tables(self, fill: Fill) -> None:
        """Draw the parameters of all tables again, each in its own form.

        Args:
            fill: Fills ``(rows, max_size)`` values of one table in place.
        """
        for index in range(len(self.tables)):
            self.table(index).reset_parameters(fill)

    def item_rows(self, items: Tensor) -> Tensor:
        """Return the table rows of items: they come after the users'."""
        return items + self.num_users

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters again; the sizes stay.

        Args:
            generator: Source of all randomness (default: the global CPU generator). The same state gives the
                same parameters, whatever device the module is on.

        Raises:
            ValueError: If the tables are packed.
        """

    @abstractmethod
    def forward(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Score a batch of triplets.

        Args:
            users: ``(b,)`` int64.
            pos_items: ``(b,)`` int64, an item each user interacted with.
            neg_items: ``(b,)`` int64, an item each user did not interact with.

        Returns:
            Scores of the positive items ``(b,)``, scores of the negative items ``(b,)`` and the scalar
            :math:`\frac{1}{2b} \sum (\|e_u\|^2 + \|e_i\|^2 + \|e_j\|^2)` over the
            batch's masked table rows, the regulariser in LightGCN's convention.
        """

    @abstractmethod
    def encode(self) -> Any:
        """Compute, without gradient, what scoring needs of users and items: a NamedTuple of tensors."""

    @abstractmethod
    def score(self, encoded: Any, users: Tensor) -> Tensor:
        """Score all items for a block of users, without gradient.

        Args:
            encoded: What :meth:`encode` returned.
            users: ``(b,)`` int64.

        Returns:
            ``(b, num_items)`` float32, a fresh tensor that the caller may overwrite.
        """

    def extra_repr(self) -> str:
        """Show the numbers of users and items and the largest size."""
        return f"num_users={self.num_users}, num_items={self.num_items}, max_size={self.max_size}"
