"""What every row of a table gets, and how a cap is handed out exactly."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bet_lightning.budget import Dtype, TableShape

FloatArray = npt.NDArray[np.float64]
_FLOAT_BITS = 32


@dataclass(frozen=True, eq=False)
class Allocation:
    """The size of every row, and the bits that each of its values takes.

    Attributes:
        sizes: ``(num_rows,)`` int64 parameters a row over all tables of the backbone, users first.
        bits: Bits a value; None is the full precision of training, 32.
    """

    sizes: Tensor
    bits: int | None = None

    @cached_property
    def params(self) -> int:
        """Parameters: the sum of the sizes."""
        return int(self.sizes.sum())

    @cached_property
    def min_size(self) -> int:
        """Smallest size of a row."""
        return int(self.sizes.min())

    def num_bytes(self, shape: TableShape, dtype: Dtype = "fp32") -> int:
        """Return the bytes of the packed table: values, and the size of every row unless the table is full.

        Args:
            shape: The full table.
            dtype: What values are stored as where no bits are given.
        """
        whole = shape.packed_bytes(self.params, dtype=dtype, min_size=self.min_size)
        if self.bits is None:
            return whole
        as_float = shape.packed_bytes(self.params, dtype="fp32", min_size=self.min_size)
        return as_float - self.params * _FLOAT_BITS // 8 + -(-self.params * self.bits // 8)

    @property
    def key(self) -> int:
        """A checksum of sizes and bits, the same in every process."""
        return zlib.crc32(self.sizes.numpy().tobytes(), self.bits or 0)


def check_cap(cap: int, num_rows: int, *, min_size: int, max_size: int) -> None:
    """Refuse a cap that no sizes within the bounds can sum to.

    Raises:
        ValueError: If it is out of ``[min_size * num_rows, max_size * num_rows]``.
    """
    if not min_size * num_rows <= cap <= max_size * num_rows:
        raise ValueError(
            f"cap must be in [{min_size * num_rows}, {max_size * num_rows}] for {num_rows} rows of size "
            f"{min_size} to {max_size}, got {cap}"
        )


def split_cap(cap: int, user_share: float, num_users: int, num_items: int, *, min_size: int, max_size: int) -> int:
    """Return parameters for users: their share of the cap, moved to the nearest that both sides can spend."""
    low = max(min_size * num_users, cap - max_size * num_items)
    high = min(max_size * num_users, cap - min_size * num_items)
    return min(max(round(user_share * cap), low), high)


def allocate(weights: npt.ArrayLike, cap: int, *, min_size: int = 1, max_size: int) -> npt.NDArray[np.int64]:
    """Hand out ``cap`` parameters in proportion to weights, exactly and within bounds.

    The real-valued shares ``clip(s * weight, min_size, max_size)`` are scaled by the ``s`` at which they sum to the
    cap, floored, and what flooring left over goes to the largest remainders (ties: the earlier row). Sizes are
    monotone in the weights, except that equal weights may differ by one.

    Args:
        weights: (num_rows,) non-negative and finite; all zero means equal weights.
        cap: The sum of sizes wanted.
        min_size: Smallest size of a row.
        max_size: Largest size of a row.

    Returns:
        (num_rows,) int64 sizes with ``sizes.sum() == cap``.

    Raises:
        ValueError: If the cap is out of ``[min_size * num_rows, max_size * num_rows]`` or a weight is negative or
            not finite.
    """
    weight = np.asarray(weights, dtype=np.float64)
    n = weight.size
    check_cap(cap, n, min_size=min_size, max_size=max_size)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise ValueError("weights must be finite and not negative")
    top = weight.max()
    # a floor under the weights lets every row take part once the heavier ones are full
    weight = np.maximum(weight / top, 1e-9) if top > 0 else np.ones(n)
    ascending = np.sort(weight)
    prefix = np.concatenate([[0.0], np.cumsum(ascending)])

    def total(scale: float) -> float:
        low, high = np.searchsorted(ascending, [min_size / scale, max_size / scale])
        return float(low * min_size + scale * (prefix[high] - prefix[low]) + (n - high) * max_size)

    # bisection on log(scale), where total() is continuous and grows from min_size * n to max_size * n
    lower, upper = np.log(max(min_size, 1e-9) / 2), np.log(2 * max_size / ascending[0])
    if min_size == 0:
        lower = np.log(1e-9 / n)
    for _ in range(100):
        middle = (lower + upper) / 2
        if total(np.exp(middle)) <= cap:
            lower = middle
        else:
            upper = middle
    shares: FloatArray = np.clip(np.exp(lower) * weight, min_size, max_size)
    sizes = np.floor(shares).astype(np.int64)
    left = cap - int(sizes.sum())
    remainder = np.where(sizes < max_size, shares - sizes, -1.0)
    sizes[np.argsort(-remainder, kind="stable")[:left]] += 1
    return sizes
