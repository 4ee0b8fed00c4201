"""Rows of a sparse symmetric matrix that a batch needs, so that the cost of a last layer depends on its batch only."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Above this share of the matrix's entries a block saves less than it costs to cut out.
# Measured on Gowalla at d=128: a batch of 10,000 needs 48 % of the entries and breaks even.
MAX_SHARE = 0.5


class RowBlock(NamedTuple):
    """Some rows of an ``(n, n)`` symmetric matrix in CSR.

    Attributes:
        rows: ``(r,)`` int64, sorted and unique.
        positions: ``(b,)`` int64, position in ``rows`` of each row that was asked for.
        matrix: ``(r, n)`` sparse CSR, these rows of the matrix.
        transposed: ``(n, r)`` sparse CSR, the same entries as columns of the matrix.
    """

    rows: Tensor
    positions: Tensor
    matrix: Tensor
    transposed: Tensor


def cut_rows(crow: Tensor, col: Tensor, value: Tensor, rows: Tensor) -> RowBlock | None:
    """Cut rows out of a CSR matrix.

    Args:
        crow: ``(n + 1,)`` int32 or int64, row starts of the matrix.
        col: ``(nnz,)`` of the same dtype, its columns.
        value: ``(nnz,)``, its values.
        rows: ``(b,)`` int64, the rows asked for, in any order, repeats allowed.

    Returns:
        The block; None where products with the whole matrix take no longer. That is so if the rows hold more than half
        of the entries, and on an accelerator, where the host would have to wait for the number of entries.
    """
    if crow.device.type != "cpu":
        return None
    size = crow.numel() - 1
    wanted = torch.zeros(size, dtype=torch.bool)
    wanted[rows] = True
    unique = wanted.nonzero().squeeze(1)
    starts, counts = crow[unique], crow.diff()[unique]
    block_crow = _starts(counts, crow.dtype)
    if int(block_crow[-1]) > MAX_SHARE * col.numel():
        return None
    entries = (starts - block_crow[:-1]).repeat_interleave(counts)
    entries += torch.arange(entries.numel(), dtype=entries.dtype)
    shape = (unique.numel(), size)
    values = value.index_select(0, entries)
    matrix = torch.sparse_csr_tensor(block_crow, col.index_select(0, entries), values, shape, check_invariants=False)
    position = torch.where(wanted, wanted.cumsum(0, dtype=col.dtype) - 1, -1)  # in the block
    # The matrix is symmetric, so the same columns of all its rows, already in order, are the transpose.
    column = position.index_select(0, col)
    kept = column >= 0
    columns = kept.nonzero().squeeze(1)
    starts_of_rows = _starts(kept, crow.dtype).index_select(0, crow)
    index = column.index_select(0, columns)
    shape = (size, unique.numel())
    values = value.index_select(0, columns)
    transposed = torch.sparse_csr_tensor(starts_of_rows, index, values, shape, check_invariants=False)
    return RowBlock(unique, position[rows].long(), matrix, transposed)


def _starts(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the starts of rows of these lengths, and the end of the last one."""
    starts = torch.zeros(counts.numel() + 1, dtype=dtype, device=counts.device)
    torch.cumsum(counts, 0, dtype=dtype, out=starts[1:])
    return starts
