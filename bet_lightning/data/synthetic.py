"""Synthetic interactions with power-law popularity and something to learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.data.interactions import Interactions

_SHIFT = 20.0  # popularity is proportional to 1 / (popularity rank + shift)
_MIN_DEGREE = 5  # interactions that are drawn first for every user, before repeated ones are dropped
_MIN_DIMENSIONS = 2  # dimensions of the least popular rows' factors
_AFFINITY = 4.0  # weight of the factors against the Gumbel noise
_NUM_CANDIDATES = 32  # items that each choice is made among
_CHUNK = 8192  # choices made at once
_MAX_ROUNDS = 100


def make_synthetic(
    num_users: int = 2000,
    num_items: int = 1500,
    num_interactions: int = 60_000,
    rank: int = 24,
    seed: int = 0,
) -> Interactions:
    """Draw interactions from a latent factor model.

    Users and candidate items are drawn by a power law, so popularity is long-tailed. Among its candidates, a user
    takes the item ``i`` that maximises ``a <p_u, q_i> + Gumbel noise``. The factors of the most popular rows have
    ``rank`` dimensions and those of the least popular two, so that popular rows deserve larger embeddings.

    Args:
        num_users: Number of users.
        num_items: Number of items.
        num_interactions: Number of pairs, at most a quarter of all that are possible.
        rank: Dimensions of the factors, at least 2.
        seed: Seed, not negative.

    Returns:
        Unique pairs without times. Ids are row numbers, which are independent of popularity.

    Raises:
        ValueError: If an argument is out of range.
    """
    sizes = {"users": (num_users, 1), "items": (num_items, 4), "interactions": (num_interactions, 1)}
    for flag, (value, least) in sizes.items():
        if value < least:
            raise ValueError(f"data.synthetic_{flag} must be at least {least}, got {value}")
    if num_interactions > (most := num_users * num_items // 4):
        raise ValueError(f"data.synthetic_interactions must be at most {most}, got {num_interactions}")
    if rank < _MIN_DIMENSIONS:
        raise ValueError(f"rank must be at least {_MIN_DIMENSIONS}, got {rank}")

    generator = np.random.default_rng([seed, num_users, num_items])
    user_share, user_factors = _make_rows(num_users, rank, generator)
    item_share, item_factors = _make_rows(num_items, rank, generator)
    slots = np.repeat(np.arange(num_users), _MIN_DEGREE)  # users, one for each item to choose
    keys = np.empty(0, dtype=np.int64)
    for _ in range(_MAX_ROUNDS):
        items = _choose_items(user_factors[slots], item_factors, item_share, generator)
        new = generator.permutation(np.setdiff1d(slots * num_items + items, keys))
        keys = np.concatenate([keys, new[: num_interactions - len(keys)]])
        if len(keys) == num_interactions:
            break
        slots = generator.choice(num_users, size=2 * (num_interactions - len(keys)), p=user_share)
    users, items = np.divmod(keys, num_items)
    return Interactions.from_pairs(users, items, np.arange(num_users), np.arange(num_items))


def _make_rows(
    num_rows: int, rank: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Draw the rows of one side.

    Returns:
        Popularity ``(num_rows,)``, which sums to 1, and factors ``(num_rows, rank)``, of more dimensions for more
        popular rows.
    """
    popularity_rank = generator.permutation(num_rows)  # 0 is the most popular
    weight = 1 / (popularity_rank + _SHIFT)
    dimensions = np.round(rank - (rank - _MIN_DIMENSIONS) * popularity_rank / num_rows)[:, None]
    factors = generator.standard_normal((num_rows, rank), dtype=np.float32)
    factors *= (np.arange(rank) < dimensions) / dimensions**0.25  # <p, q> of rows of equal dimensions has variance 1
    return weight / weight.sum(), factors


def _choose_items(
    users: npt.NDArray[np.float32],
    item_factors: npt.NDArray[np.float32],
    item_share: npt.NDArray[np.float64],
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Choose one item for each user.

    Args:
        users: ``(n, rank)`` factors of the users, repeats allowed.
        item_factors: ``(num_items, rank)``.
        item_share: ``(num_items,)`` probability of each item to be a candidate.
        generator: Source of randomness.

    Returns:
        ``(n,)`` int64.
    """
    chosen = []
    for start in range(0, len(users), _CHUNK):
        block = users[start : start + _CHUNK]
        candidates = generator.choice(len(item_share), size=(len(block), _NUM_CANDIDATES), p=item_share)
        affinity = _AFFINITY * np.einsum("sr,scr->sc", block, item_factors[candidates])
        best = (affinity + generator.gumbel(size=affinity.shape)).argmax(axis=1)
        chosen.append(candidates[np.arange(len(block)), best])
    return np.concatenate(chosen)
