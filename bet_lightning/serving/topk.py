"""The best columns of each row, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.rows import FloatArray

_BLOCK = 64  # columns in a block, of which at first only the largest score is compared


def top_k(scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the k best columns of each row, best first; equal scores are in the order of their columns.

    Columns are taken in blocks, and the largest score of each block is found in one pass. At least k scores reach the
    k-th largest of these, so only blocks that reach it are searched.

    Args:
        scores: ``(b, n)``.
        k: From 1 to n.

    Returns:
        Columns ``(b, k)`` int64 and scores ``(b, k)``.
    """
    num_rows, num_cols = scores.shape
    num_blocks = num_cols // _BLOCK if num_cols // _BLOCK >= k else 0
    blocks = scores[:, : num_blocks * _BLOCK].reshape(num_rows, _BLOCK, num_blocks)
    rest = scores[:, num_blocks * _BLOCK :]
    largest = blocks.max(axis=1) if num_blocks else rest
    bound = np.partition(largest, largest.shape[1] - k, axis=1)[:, largest.shape[1] - k, None]
    rows, columns = np.nonzero(rest >= bound)
    columns += num_blocks * _BLOCK
    if num_blocks:
        reaching, block = np.nonzero(largest >= bound)
        found, offset = np.nonzero(blocks[reaching, :, block] >= bound[reaching])
        rows = np.concatenate([rows, reaching[found]])
        columns = np.concatenate([columns, offset * num_blocks + block[found]])
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    firsts = np.searchsorted(rows[order], np.arange(num_rows))
    best = order[firsts[:, None] + np.arange(k)]
    return columns[best], values[best]
