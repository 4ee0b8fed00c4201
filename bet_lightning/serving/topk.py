"""The best columns of each row, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.rows import FloatArray

_BLOCK = 64  # columns of which only the largest counts at first


def top_k(scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k best columns of each row, best first.

    The k best lie in the k blocks of columns whose largest scores are the largest: one pass over the scores finds these
    blocks, and only they are sorted.

    Args:
        scores: ``(b, n)``.
        k: From 1 to n.

    Returns:
        Columns ``(b, k)`` and scores ``(b, k)``.
    """
    num_rows, num_cols = scores.shape
    num_blocks = num_cols // _BLOCK
    if num_blocks <= 2 * k:
        return _sort(np.broadcast_to(np.arange(num_cols), scores.shape), scores, k)
    whole = num_blocks * _BLOCK
    largest = scores[:, :whole].reshape(num_rows, _BLOCK, num_blocks).max(axis=1)
    blocks = np.argpartition(largest, num_blocks - k, axis=1)[:, num_blocks - k :]
    members = (blocks[:, :, None] + num_blocks * np.arange(_BLOCK)).reshape(num_rows, -1)
    rest = np.broadcast_to(np.arange(whole, num_cols), (num_rows, num_cols - whole))
    columns = np.concatenate([members, rest], axis=1)
    return _sort(columns, np.take_along_axis(scores, columns, axis=1), k)


def _sort(columns: npt.NDArray[np.int64], scores: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k best of some columns with their scores, best first; of equal ones the first column first."""
    if k < scores.shape[1]:
        best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
        columns, scores = np.take_along_axis(columns, best, axis=1), np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((columns, -scores), axis=1)
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(scores, order, axis=1)
