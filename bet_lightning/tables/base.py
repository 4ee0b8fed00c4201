"""What every embedding table offers: a vector a row, and what the table costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

Fill = Callable[[Tensor], None]
Gather = Callable[[Tensor], tuple[Tensor, Tensor]]
Description = Mapping[str, str | int]


class EmbeddingTable(nn.Module, ABC):
    """A table of ``num_rows`` vectors of ``max_size`` columns, in whatever form it is held.

    A class that is no prefix table names what it is built from in :meth:`describe`, so that a checkpoint of it can be
    loaded; tensors come from the ``state_dict``.

    Attributes:
        num_rows: Number of rows.
        max_size: Columns of a vector.
        num_ranks: Number of processes among which its columns are shared out.
    """

    num_rows: int
    max_size: int
    num_ranks: int = 1

    @property
    @abstractmethod
    def num_used(self) -> int:
        """Number of parameters that count towards a budget."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes of a deployed table: its parameters as float32 and whatever index they need."""

    @abstractmethod
    def reset_parameters(self, fill: Fill) -> None:
        """Draw all parameters again.

        Args:
            fill: Fills a ``(rows, max_size)`` tensor in place, as the backbone initialises its tables.
        """

    @abstractmethod
    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return vectors.

        Args:
            rows: ``(b,)`` int64 row numbers, repeats allowed; all rows if None.

        Returns:
            ``(b, max_size)`` float32, or ``(num_rows, max_size)`` if ``rows`` is None. Not to be written to.
        """

    def narrow(self, rows: Tensor | None = None) -> Tensor:
        """Return the same, without trailing columns that are zero in every row where a table knows of any."""
        vectors: Tensor = self(rows)
        return vectors

    def exchange(self, rows: Tensor, gather: Gather) -> tuple[Tensor, Tensor]:
        """Return vectors of rows in all columns, and their squared norms, from those in the columns held here.

        Args:
            rows: ``(n,)`` int64.
            gather: Returns vectors ``(n, c)`` of rows and their squared norms ``(n,)``, in the columns held here.
        """
        return gather(rows)

    def whole(self, part: Tensor) -> Tensor:
        """Return all columns of values ``(n, c)`` that are given in the columns held here, without gradient."""
        return part

    def relative_rates(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Return parameters whose learning rate is another than the values', and how many times theirs it is."""
        return ()

    def end_epoch(self) -> None:
        """Do what is due after every epoch that the table is trained for."""

    def describe(self) -> Description:
        """Return the name of the class and the arguments that :meth:`from_description` takes, plain values."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is rebuilt")

    @classmethod
    def from_description(cls, description: Description) -> EmbeddingTable:
        """Build the table that :meth:`describe` described; its tensors are still to be loaded."""
        arguments = {name: int(value) for name, value in description.items() if name != "kind"}
        return cls(**arguments)


def build_table(description: Description) -> EmbeddingTable:
    """Build a table from its description in a checkpoint; only classes that are imported are looked up.

    Raises:
        ValueError: If there is no such table, or the description is not one.
    """
    kinds = {kind.__name__: kind for kind in _subclasses(EmbeddingTable)}  # type: ignore[type-abstract]
    try:
        return kinds[str(description["kind"])].from_description(description)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the checkpoint holds a table that is not known here ({error!r})") from None


def _subclasses(kind: type[EmbeddingTable]) -> list[type[EmbeddingTable]]:
    below = kind.__subclasses__()
    return [*below, *(each for child in below for each in _subclasses(child))]
