"""The best columns of each row, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.rows import FloatArray

_BLOCK = 64  # columns of which only the largest counts at first


def top_k(scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k best columns of each row, best first; of equal ones the first column first.

    The k-th largest of the largest scores of blocks of columns is a bound that k scores reach: two passes over the
    scores leave hardly more than these to be sorted.

    Args:
        scores: ``(b, n)``.
        k: From 1 to n.

    Returns:
        Columns ``(b, k)`` and scores ``(b, k)``.
    """
    num_rows, num_cols = scores.shape
    num_blocks = num_cols // _BLOCK
    if num_blocks < k:
        bound = np.partition(scores, num_cols - k, axis=1)[:, num_cols - k]
    else:
        whole = scores[:, : num_blocks * _BLOCK].reshape(num_rows, _BLOCK, num_blocks)
        bound = np.partition(whole.max(axis=1), num_blocks - k, axis=1)[:, num_blocks - k]
    found = np.flatnonzero(scores >= bound[:, None])
    rows, columns = np.divmod(found, num_cols)
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    firsts = np.searchsorted(rows, np.arange(num_rows))
    best = order[firsts[:, None] + np.arange(k)]
    return columns[best], values[best]
