"""Top-k items of a block of users, without the items that they have seen."""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT = -1  # stands in a list for no item, where none is left


def top_k_items(scores: Tensor, seen_rows: Tensor, seen_items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k best unseen items of each row, best first.

    Args:
        scores: ``(b, num_items)`` floats; **overwritten**: seen entries become -inf.
        seen_rows: ``(S,)`` int64, rows of ``scores`` (not user ids).
        seen_items: ``(S,)`` int64, the item seen by that row; repeats are harmless.
        k: Length of the lists.

    Returns:
        Scores ``(b, k)`` and items ``(b, k)`` int64. If a row has fewer than k unseen items, its list ends with score
        -inf and item -1.

    Raises:
        ValueError: If ``k`` is below 1 or above the number of items.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be in 1..{scores.shape[1]} (the number of items), got {k}")
    scores[seen_rows, seen_items] = -torch.inf
    values, items = torch.topk(scores, k, dim=1)
    return values, items.masked_fill(values == -torch.inf, ABSENT)
