"""What a budget resolves to on the tables of one backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bet_lightning.dtypes import Dtype
from bet_lightning.table_format import TableFormat, TableShape


@dataclass(frozen=True)
class ResolvedBudget:
    """A budget on the tables of one backbone: everything that is to be known of it, in one object.

    Attributes:
        name: As the user gave it: the share that is kept (``0.1``), ``5000`` parameters or ``2MB``.
        unit: Whether the user counts parameters or bytes.
        params: The cap B: the largest sum of sizes of a prefix table, in the format of a plain one without empty rows.
        bytes: Bytes of a packed prefix table with that many parameters; what the user's number leaves for the table
            where bytes are given.
        formats: Formats that a table may be written in, the finest first: one, unless bits are to be found too.
        min_size: Smallest size of a row.
        shape: The full table.
        beside: Bytes of the user's number that are not the table's.
    """

    name: str
    unit: Literal["params", "bytes"]
    params: int
    bytes: int
    formats: tuple[TableFormat, ...]
    min_size: int
    shape: TableShape
    beside: int = 0

    @property
    def keep_ratio(self) -> float:
        """Share of the full table's parameters that may be kept."""
        return self.params / self.shape.params

    @property
    def amount(self) -> int:
        """The budget in its own unit."""
        return self.bytes if self.unit == "bytes" else self.params

    @property
    def dtype(self) -> Dtype | None:
        """What values are held as; None where that is to be found."""
        return self.formats[0].dtype if len(self.formats) == 1 else None

    @property
    def plain(self) -> TableFormat:
        """The format of whoever does not look for one: the finest that holds the full table, or else the coarsest."""
        return self.formats[-1]

    def typical_cap(self, form: TableFormat) -> int:
        """Return about how many parameters a table in a format can have, at least one."""
        if self.unit == "params":
            return self.params
        return form.typical_cap(self.shape, self.bytes, self.min_size)

    def cap(self, form: TableFormat, num_filled: int | None = None) -> int:
        """Return the largest sum of sizes in a format.

        Args:
            form: The format.
            num_filled: Rows that have values (default: all).
        """
        if self.unit == "params":
            return self.params
        return form.cap(self.shape, self.bytes, num_filled, self.min_size)

    def check(self, params: int, num_bytes: int) -> None:
        """Refuse a table that costs more: the last line of defence, as every method keeps within by construction.

        Args:
            params: Its parameters.
            num_bytes: Its bytes, with whatever index it needs.

        Raises:
            ValueError: If it is over the budget.
        """
        if params > self.params and self.unit == "params":
            raise ValueError(f"the table has {params} parameters, over the budget of {self.params}")
        if num_bytes > self.bytes and self.unit == "bytes":
            raise ValueError(f"the table has {num_bytes} bytes, over the budget of {self.bytes}")
