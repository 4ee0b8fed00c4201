"""The best columns of each row, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.rows import FloatArray

_BLOCK = 64  # columns of which only the largest counts at first


def top_k(scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k best columns of each row, best first; of equal ones the first column first.

    The k-th largest of the largest scores of blocks of columns is a bound that k scores reach: one pass over the scores
    leaves only the blocks that reach it to be looked into.

    Args:
        scores: ``(b, n)``.
        k: From 1 to n.

    Returns:
        Columns ``(b, k)`` and scores ``(b, k)``.
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
        found, places = np.nonzero(blocks[reaching, :, block] >= bound[reaching])
        rows = np.concatenate([rows, reaching[found]])
        columns = np.concatenate([columns, places * num_blocks + block[found]])
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    firsts = np.searchsorted(rows[order], np.arange(num_rows))
    best = order[firsts[:, None] + np.arange(k)]
    return columns[best], values[best]
