"""Embedding table that holds no more than its rows' sizes: what a budget leaves in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bet_lightning.tables.base import Fill
from bet_lightning.tables.masked import MaskedEmbedding, check_sizes, size_dtype
from bet_lightning.tables.prefix_table import PrefixTable
from bet_lightning.tables.prefixes import index_dtype, pack, runs, unpack


class PackedEmbedding(PrefixTable):
    r"""The first ``sizes[n]`` values of every row n, one row after another in a vector; rows are padded with zeros.

    Reads like a :class:`MaskedEmbedding` of the same sizes, and has its gradient inside the mask. What is held through
    training (values, their gradient, the optimiser's state) is as large as the budget, beside an offset and a size a
    row. The sizes are fixed.

    A ``state_dict`` of either class loads into the other: into this one where the sizes are the same.

    The values start at zero.

    Args:
        sizes: ``(num_rows,)`` integers in ``0..max_size``, copied.
        max_size: Number of columns that rows are padded to, from 1 to 32,767.

    Attributes:
        values: ``(sum of sizes,)`` float32.
        sizes: ``(num_rows,)`` uint8 (int16 if ``max_size > 255``).
        starts: ``(num_rows,)`` int32 (int64 if there are too many values), where each row begins; not in checkpoints.

    Raises:
        ValueError: If ``max_size`` is out of range, there is no row, or the shape, the dtype or a value of ``sizes`` is
            wrong.
    """

    starts: Tensor

    def __init__(self, sizes: Tensor, max_size: int) -> None:
        super().__init__()
        dtype = size_dtype(max_size)
        self.num_rows = sizes.numel()
        self.max_size = max_size
        if self.num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, got {self.num_rows}")
        check_sizes(sizes, self.num_rows, max_size)
        ends = sizes.cumsum(0, dtype=torch.int64)
        self.values = nn.Parameter(torch.zeros(int(ends[-1]), device=sizes.device))
        self.register_buffer("sizes", sizes.to(dtype, copy=True))
        self.register_buffer("starts", (ends - sizes).to(index_dtype(self.values.numel())), persistent=False)
        self._width = max(1, int(sizes.max()))

    @classmethod
    @torch.no_grad()
    def from_masked(cls, masked: MaskedEmbedding) -> PackedEmbedding:
        """Return a packed copy of what the mask leaves of a table."""
        packed = cls(masked.sizes, masked.max_size)
        packed.values = nn.Parameter(pack(masked.weight, masked.sizes))
        return packed

    @torch.no_grad()
    def to_masked(self) -> MaskedEmbedding:
        """Return a masked copy; its weight is zero outside the mask."""
        masked = MaskedEmbedding(self.num_rows, self.max_size).to(self.values.device)
        masked.weight = nn.Parameter(unpack(self.values, self.sizes, self.max_size))
        masked.set_sizes(self.sizes)
        return masked

    def reset_parameters(self, fill: Fill) -> None:
        """Refuse: the values that a mask leaves of a full table depend on the columns that it cuts.

        Raises:
            ValueError: Always.
        """
        raise ValueError("the tables are packed: unpack() them before their sizes, basis or whole rows are changed")

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return the padded table or some of its rows.

        Args:
            rows: ``(b,)`` int64 row numbers, repeats allowed; all rows if None.

        Returns:
            ``(b, max_size)`` float32, or ``(num_rows, max_size)`` if ``rows`` is None.
        """
        return self._read(rows, self.max_size)

    def narrow(self, rows: Tensor | None = None) -> Tensor:
        """Return the same without the last columns that no row of the table uses.

        Returns:
            ``(b, width)`` or ``(num_rows, width)``, width being the largest size, at least 1.
        """
        return self._read(rows, self._width)

    def _vectors(self, rows: Tensor | None, width: int) -> Tensor:
        if rows is None:
            return unpack(self.values, self.sizes, width)
        sizes = self.sizes[rows]
        indices = runs(self.starts[rows], sizes, int(sizes.sum(dtype=torch.int64)))
        # index_select adds gradients of repeated rows up in their order, as that of a masked table does
        return unpack(self.values.index_select(0, indices), sizes, width)

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
        """Take the state of a masked table too, and none of other sizes."""
        sizes, weight = (state_dict.get(f"{prefix}{name}") for name in ("sizes", "weight"))
        shape = (self.num_rows, self.max_size)
        if sizes is not None and sizes.shape == self.sizes.shape and (sizes.to(self.sizes.device) != self.sizes).any():
            error_msgs.append(f"size mismatch for {prefix}sizes: those of a packed table are fixed, and are others")
            return
        if weight is not None and weight.shape != shape:
            error_msgs.append(f"size mismatch for {prefix}weight: its shape is {tuple(weight.shape)}, not {shape}")
            return
        if weight is not None:
            weight = state_dict.pop(f"{prefix}weight")
            state_dict[f"{prefix}values"] = pack(weight, self.sizes.to(weight.device))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
