"""Sums of ReLU over hidden units for every pair of a user and an item: what ranking a tower of one layer comes to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from bet_lightning.serving import maxima
from bet_lightning.serving.maxima import compiled
from bet_lightning.serving.rows import FloatArray

USERS_AT_ONCE = 64  # users whose distances to all items are held beside their scores


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
    columns = items.T.contiguous().numpy()

    def add(some_scores: FloatArray, some_users: FloatArray) -> None:
        maxima.add_relu_sums(kernel, some_scores, some_users, columns, num_positive)

    num_threads = min(torch.get_num_threads(), len(scores))
    if num_threads <= 1:
        add(scores.numpy(), users.numpy())
        return scores
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(add, *(np.array_split(each.numpy(), num_threads) for each in (scores, users))))
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
