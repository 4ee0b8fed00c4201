"""Full embedding table with a prefix mask: what BET trains while it looks for sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Fill
from bet_lightning.tables.prefix_table import PrefixTable
from bet_lightning.tables.prefixes import unpack


class MaskedEmbedding(PrefixTable):
    r"""Full table with a prefix mask: row n keeps its first ``sizes[n]`` columns.

    .. math::
        \mathbf{e}_n = (\mathbf{E} \odot \mathbf{M})_n, \qquad \mathbf{M}_{nj} = [\, j < \mathrm{sizes}_n \,]

    BET (arXiv 2310.14884) Sec. 3.1. The mask is never stored: it is rebuilt from one small integer a row, so changing
    the sizes adds no parameter and leaves the weight as it is. Masked entries read as zero and get an exactly zero
    gradient.

    A ``state_dict`` of a :class:`PackedEmbedding` loads too; masked entries become zero.

    The weight starts at zero; a backbone's ``reset_parameters`` fills it.

    Args:
        num_rows: Number of rows, at least 1.
        max_size: Number of columns of the full table, from 1 to 32,767.

    Attributes:
        weight: ``(num_rows, max_size)`` float32, the full table.
        sizes: ``(num_rows,)`` uint8 (int16 if ``max_size > 255``), columns kept of each row, at first all.

    Raises:
        ValueError: If ``num_rows`` or ``max_size`` is out of range.
    """

    def __init__(self, num_rows: int, max_size: int) -> None:
        super().__init__()
        if num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, got {num_rows}")
        dtype = size_dtype(max_size)
        self.num_rows = num_rows
        self.max_size = max_size
        self.weight = nn.Parameter(torch.zeros(num_rows, max_size))
        self.register_buffer("sizes", torch.full((num_rows,), max_size, dtype=dtype))
        self._largest: int | None = max_size  # of the sizes; None where they changed

    def to_masked(self) -> MaskedEmbedding:
        """Return the table itself."""
        return self

    def reset_parameters(self, fill: Fill) -> None:
        """Fill the whole weight; the sizes stay."""
        self.bring_up_to_date()
        fill(self.weight)

    @torch.no_grad()
    def set_sizes(self, sizes: Tensor) -> None:
        """Set the size of every row, in place: the buffer object stays the same.

        Args:
            sizes: ``(num_rows,)`` integers in ``0..max_size``.

        Raises:
            ValueError: If the shape, the dtype or a value of ``sizes`` is wrong.
        """
        check_sizes(sizes, self.num_rows, self.max_size)
        self.bring_up_to_date()
        self.sizes.copy_(sizes)
        self._largest = None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return the masked table or some of its rows.

        Args:
            rows: ``(b,)`` int64 row numbers, repeats allowed; all rows if None.

        Returns:
            ``(b, max_size)`` float32, or ``(num_rows, max_size)`` if ``rows`` is None. Not to be written to: without
            a row to mask it is the weight itself.
        """
        return self._read(rows, self.max_size)

    def narrow(self, rows: Tensor | None = None) -> Tensor:
        """Return the same without the last columns that no row of the table uses.

        For backbones that treat columns independently: under a small budget work falls with the largest size.

        Returns:
            ``(b, width)`` or ``(num_rows, width)``, width being the largest size, at least 1. On an accelerator
            the host would have to wait for the largest size: there all columns are returned.
        """
        if self.sizes.device.type != "cpu":
            return self._read(rows, self.max_size)
        if self._largest is None:  # kept, as a step must not look at every row
            self._largest = max(1, int(self.sizes.max()))
        return self._read(rows, self._largest)

    def _vectors(self, rows: Tensor | None, width: int) -> Tensor:
        # slicing nothing away would still cost the backward pass a copy of the table
        weight = self.weight if width == self.max_size else self.weight[:, :width]
        # index_select adds gradients of rows up without sorting them first, as an embedding's backward pass does
        values = weight if rows is None else weight.index_select(0, rows)
        sizes = self.sizes if rows is None else self.sizes[rows]
        if sizes.device.type == "cpu" and sizes.numel() and int(sizes.min()) >= width:
            return values
        columns = torch.arange(width, dtype=sizes.dtype, device=sizes.device)
        # Filled, not multiplied: a masked entry is zero even where the full table holds inf or nan.
        return values.masked_fill(columns >= sizes.unsqueeze(-1), 0.0)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take the state of a packed table too."""
        values, sizes = (state_dict.get(f"{prefix}{name}") for name in ("values", "sizes"))
        if values is not None and sizes is not None:
            try:
                check_sizes(sizes, self.num_rows, self.max_size)
                if values.shape != (total := int(sizes.sum(dtype=torch.int64)),):
                    raise ValueError(f"values must have shape ({total},), got {tuple(values.shape)}")
            except ValueError as error:
                error_msgs.append(f"size mismatch for {prefix}values: {error}")
                return
            state_dict[f"{prefix}weight"] = unpack(state_dict.pop(f"{prefix}values"), sizes, self.max_size)
        self._largest = None
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def size_dtype(max_size: int) -> torch.dtype:
    """Smallest dtype of sizes up to ``max_size``: uint8 or int16.

    Raises:
        ValueError: If ``max_size`` is out of range.
    """
    if not 1 <= max_size <= torch.iinfo(torch.int16).max:
        raise ValueError(f"max_size must be in 1..{torch.iinfo(torch.int16).max}, got {max_size}")
    return torch.uint8 if max_size <= torch.iinfo(torch.uint8).max else torch.int16


def check_sizes(sizes: Tensor, num_rows: int, largest: int) -> None:
    """Refuse sizes that no table of this shape can have.

    Args:
        sizes: The sizes to check, expected ``(num_rows,)`` integers in ``0..largest``.
        num_rows: Number of rows of the table.
        largest: Largest size of a row.

    Raises:
        ValueError: If the shape, the dtype or a value of ``sizes`` is wrong.
    """
    if sizes.shape != (num_rows,):
        raise ValueError(f"sizes must have shape ({num_rows},), got {tuple(sizes.shape)}")
    if sizes.is_floating_point() or sizes.is_complex() or sizes.dtype == torch.bool:
        raise ValueError(f"sizes must be integers, got {sizes.dtype}")
    smallest_given, largest_given = (int(bound) for bound in torch.aminmax(sizes))
    if smallest_given < 0 or largest_given > largest:
        raise ValueError(f"sizes must be in 0..{largest}, got {smallest_given}..{largest_given}")
