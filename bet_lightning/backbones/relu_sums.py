"""Sums of ReLU over hidden units for every pair of a user and an item: what ranking a tower of one layer comes to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

USERS_AT_ONCE = 64  # users whose distances to all items are held beside their scores
_ITEMS_A_TILE = 1024  # whose scores for two users, and four hidden units, stay in the first cache

FloatArray = npt.NDArray[np.float32]
Kernel = Callable[[FloatArray, FloatArray, FloatArray, int], None]


def as_signed(users: Tensor, items: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Scale hidden units by the size of their weights, those of positive weight first.

    Then :math:`\sum_h w_h \max(0, u_h + v_h)` is the sum of :math:`\max(0, u'_h + v'_h)` over the first units less that
    over the others.

    Args:
        users: ``(b, h)`` float32.
        items: ``(n, h)`` float32.
        weight: ``(h,)`` float32.

    Returns:
        Users ``(b, h)`` and items ``(n, h)``; the items of a unit are contiguous in memory.
    """
    order = (weight <= 0).int().argsort(stable=True)
    sizes = weight[order].abs()
    return users[:, order] * sizes, (items[:, order] * sizes).T.contiguous().T


def add_relu_sums(scores: Tensor, users: Tensor, items: Tensor, num_positive: int) -> Tensor:
    r"""Add :math:`\sum_{h < p} \max(0, u_h + v_h) - \sum_{h \ge p} \max(0, u_h + v_h)` for every pair, in place.

    Since :math:`\max(0, u + v) = u + \max(-u, v)`, the sum is a number a user beside sums of maxima, two operations a
    hidden unit. They are compiled where numba is installed; elsewhere, and on other devices than the CPU, they are
    city-block distances, as :math:`\max(0, x) = (x + |x|) / 2`. Neither holds an activation.

    Args:
        scores: ``(b, n)`` float32, overwritten.
        users: ``(b, h)`` float32.
        items: ``(n, h)`` float32.
        num_positive: p, the hidden units that count positive.

    Returns:
        ``scores``.
    """
    kernel = compiled()
    if kernel is None or scores.device.type != "cpu" or scores.dtype != torch.float32:
        return _add_distances(scores, users, items, num_positive)
    scores += (users[:, :num_positive].sum(1) - users[:, num_positive:].sum(1)).unsqueeze(1)
    out, bounds, columns = scores.numpy(), (-users).numpy(), items.T.contiguous().numpy()
    num_threads = min(torch.get_num_threads(), len(out))
    if num_threads <= 1:
        kernel(out, bounds, columns, num_positive)
        return scores
    parts = [np.array_split(each, num_threads) for each in (out, bounds)]
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(kernel, *parts, [columns] * num_threads, [num_positive] * num_threads))
    return scores


def _add_distances(scores: Tensor, users: Tensor, items: Tensor, num_positive: int) -> Tensor:
    """Do the same with the kernels of torch."""
    for units, sign in ((slice(num_positive), 0.5), (slice(num_positive, None), -0.5)):
        some_items = items[:, units]
        scores += sign * (users[:, units].sum(1, keepdim=True) + some_items.sum(1))
        negated = -some_items
        for block, some_users in zip(scores.split(USERS_AT_ONCE), users[:, units].split(USERS_AT_ONCE), strict=True):
            block.add_(torch.cdist(some_users, negated, p=1), alpha=sign)
    return scores


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
