"""Sums of maxima for every pair of a user and an item, compiled: NeuMF's one hidden layer, without its activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from bet_lightning.serving.rows import FloatArray

_ITEMS_A_TILE = 1024  # whose scores for two users, and four hidden units, stay in the first cache

Kernel = Callable[[FloatArray, FloatArray, FloatArray, int], None]


def add_relu_sums(kernel: Kernel, scores: FloatArray, users: FloatArray, items: FloatArray, num_positive: int) -> None:
    r"""Add :math:`\sum_{h < p} \max(0, u_h + v_h) - \sum_{h \ge p} \max(0, u_h + v_h)` for every pair, in place.

    Since :math:`\max(0, u + v) = u + \max(-u, v)`, the sum is a number a user beside sums of maxima.

    Args:
        kernel: What :func:`compiled` returned.
        scores: ``(b, n)``, overwritten.
        users: ``(b, h)``.
        items: ``(h, n)``.
        num_positive: p, the hidden units that count positive.
    """
    scores += (users[:, :num_positive].sum(1) - users[:, num_positive:].sum(1))[:, None]
    kernel(scores, -users, items, num_positive)


@cache
def compiled() -> Kernel | None:
    """Return the compiled kernel, None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    # lanes of a vector are items; the sum of four units may be made in another order
    kernel: Any = numba.njit(nogil=True, fastmath=True)(_add_maxima)
    return kernel  # type: ignore[no-any-return]


def _add_maxima(scores: FloatArray, bounds: FloatArray, items: FloatArray, num_positive: int) -> None:
    """Add to scores ``(b, n)`` the signed sums of the larger of bounds ``(b, h)`` and items ``(h, n)``.

    Two users and four hidden units are taken at a time: a value of an item that was loaded is used twice, and a score
    is loaded once for four units.
    """
    num_users, num_items = scores.shape
    spare = np.empty(_ITEMS_A_TILE, np.float32)  # scores of nobody, beside those of a last odd user
    for start in range(0, num_items, _ITEMS_A_TILE):
        stop = min(start + _ITEMS_A_TILE, num_items)
        for user in range(0, num_users, 2):
            other = min(user + 1, num_users - 1)
            ours = scores[user, start:stop]
            theirs = scores[other, start:stop] if other > user else spare[: stop - start]
            a, b = bounds[user], bounds[other]
            for part in range(2):
                first, last = (0, num_positive) if part == 0 else (num_positive, len(items))
                sign = np.float32(1) if part == 0 else np.float32(-1)
                unit = first
                while unit + 4 <= last:
                    # element by element: an array that is unpacked keeps the loop below from being vectorised
                    a0, a1, a2, a3 = a[unit], a[unit + 1], a[unit + 2], a[unit + 3]
                    b0, b1, b2, b3 = b[unit], b[unit + 1], b[unit + 2], b[unit + 3]
                    v0, v1 = items[unit, start:stop], items[unit + 1, start:stop]
                    v2, v3 = items[unit + 2, start:stop], items[unit + 3, start:stop]
                    for item in range(stop - start):
                        x0, x1, x2, x3 = v0[item], v1[item], v2[item], v3[item]
                        ours[item] += sign * ((max(x0, a0) + max(x1, a1)) + (max(x2, a2) + max(x3, a3)))
                        theirs[item] += sign * ((max(x0, b0) + max(x1, b1)) + (max(x2, b2) + max(x3, b3)))
                    unit += 4
                while unit < last:
                    a0, b0, v0 = a[unit], b[unit], items[unit, start:stop]
                    for item in range(stop - start):
                        ours[item] += sign * max(v0[item], a0)
                        theirs[item] += sign * max(v0[item], b0)
                    unit += 1
