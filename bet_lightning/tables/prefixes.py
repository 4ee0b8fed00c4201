"""Rows of different lengths, one after another in a vector, and their places at the beginning of a table's rows."""

from __future__ import annotations

import torch
from torch import Tensor


def index_dtype(count: int) -> torch.dtype:
    """Smallest dtype that torch takes as an index into ``count`` values."""
    return torch.int32 if count <= torch.iinfo(torch.int32).max else torch.int64


def runs(firsts: Tensor, sizes: Tensor, total: int) -> Tensor:
    """Return ``first, first + 1, ..., first + size - 1`` of every row, one row after another.

    Args:
        firsts: ``(n,)`` int32 or int64.
        sizes: ``(n,)`` integers, not negative.
        total: Their sum, so that an accelerator need not be waited for.

    Returns:
        ``(total,)`` of the dtype of ``firsts``.
    """
    sizes = sizes.to(firsts.dtype)
    before = sizes.cumsum(0, dtype=firsts.dtype) - sizes
    indices = torch.repeat_interleave(firsts - before, sizes, output_size=total)
    return indices.add_(torch.arange(total, dtype=firsts.dtype, device=firsts.device))


def pack(table: Tensor, sizes: Tensor) -> Tensor:
    """Return the first ``sizes[n]`` values of every row n, one row after another.

    Args:
        table: ``(n, width)`` floats.
        sizes: ``(n,)`` integers in ``0..width``.

    Returns:
        ``(sum of sizes,)`` of the table's dtype, a copy.
    """
    total = int(sizes.sum(dtype=torch.int64))
    return table.reshape(-1).index_select(0, _places(sizes, table.shape[1], total))


def unpack(values: Tensor, sizes: Tensor, width: int) -> Tensor:
    """Return the table of packed values, zero behind each row's size, differentiable in ``values``.

    Indices are made for the values alone: a mask of the whole table would take longer, the backward pass of
    ``masked_scatter`` most of all.

    Args:
        values: ``(sum of sizes,)`` floats.
        sizes: ``(n,)`` integers in ``0..width``.
        width: Columns of the table.

    Returns:
        ``(n, width)`` of the dtype of ``values``.
    """
    places = _places(sizes, width, values.numel())
    # each place is added to once; unlike a copy this takes int32
    return values.new_zeros(sizes.numel() * width).index_add_(0, places, values).view(sizes.numel(), width)


def _places(sizes: Tensor, width: int, total: int) -> Tensor:
    """Where the values of every row are in a flat table of so many columns."""
    dtype = index_dtype(sizes.numel() * width)
    return runs(torch.arange(sizes.numel(), dtype=dtype, device=sizes.device).mul_(width), sizes, total)
