"""What every row of a table gets, and how a cap is handed out exactly."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bet_lightning.table_format import FLOAT32, TableFormat, TableShape

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Allocation:
    """The size of every row, and how its values are held.

    Attributes:
        sizes: ``(num_rows,)`` int64 parameters a row over all tables of the backbone, users first.
        form: What values are held as; float32 is the precision of training.
    """

    sizes: Tensor
    form: TableFormat = FLOAT32

    @cached_property
    def params(self) -> int:
        """Parameters: the sum of the sizes."""
        return int(self.sizes.sum())

    def num_bytes(self, shape: TableShape) -> int:
        """Return the bytes of the packed table, as it is written."""
        return self.form.num_bytes(shape, self.sizes)

    @property
    def key(self) -> int:
        """A checksum of sizes and format, the same in every process."""
        return zlib.crc32(self.sizes.numpy().tobytes(), zlib.crc32(self.form.dtype.encode()))


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


def between(lower: Tensor, upper: Tensor, order: Tensor, cap: int) -> Tensor:
    """Return sizes that sum to a cap: larger ones for the first rows of an order, smaller ones for the last.

    The row between them has what is left.

    Args:
        lower: ``(num_rows,)`` int64, with a sum of at most the cap.
        upper: ``(num_rows,)`` int64, none below ``lower``.
        order: ``(num_rows,)`` int64, the rows in their order.
        cap: The sum; where it is above that of ``upper``, that is returned.

    Returns:
        ``(num_rows,)`` int64.
    """
    more = (upper - lower)[order]
    before = more.cumsum(0) - more
    sizes = lower.clone()
    sizes[order] += (cap - int(lower.sum()) - before).clamp(min=0).minimum(more)
    return sizes


def on_grid(sizes: Tensor, grid: int, cap: int, *, min_size: int, max_size: int) -> Tensor:
    """Move sizes to multiples of a grid, the sum staying below a cap by less than the grid where sizes spent it.

    Sizes that sum to more than the cap are scaled down to it.

    Args:
        sizes: ``(num_rows,)`` integers in ``min_size..max_size``.
        grid: What sizes are to be multiples of; divides ``max_size``.
        cap: The most that they may sum to.
        min_size: Smallest size of a row: if not 0, every row keeps a multiple.
        max_size: Largest size of a row.

    Returns:
        ``(num_rows,)`` int64 multiples of the grid.

    Raises:
        ValueError: If the cap is too small for a multiple a row.
    """
    total = int(sizes.sum())
    if grid == 1 and total <= cap:
        return sizes.long()
    units = (cap // grid) if cap < max_size * len(sizes) else len(sizes) * (max_size // grid)
    shares = sizes.numpy() * (min(1.0, cap / max(1, total)) / grid)
    low, high = min(min_size, 1), max_size // grid
    if units < low * len(sizes):
        raise ValueError(f"{cap} parameters are too few for {len(sizes)} rows of at least {grid}")
    return torch.from_numpy(_to_units(shares, units, low, high)) * grid


def _to_units(shares: FloatArray, units: int, low: int, high: int) -> npt.NDArray[np.int64]:
    """Round shares to whole units that sum to at most a number of them, the largest remainders up."""
    whole = np.clip(np.floor(shares), low, high).astype(np.int64)
    left = units - int(whole.sum())
    remainder = np.where(whole < high, shares - whole, -np.inf)
    order = np.argsort(-remainder, kind="stable")
    if left > 0:
        whole[order[: min(left, int((whole < high).sum()))]] += 1
    while left < 0:  # rows that were raised to the smallest size: the others give a unit each
        above = np.flatnonzero(whole > low)[::-1][:-left]
        whole[above] -= 1
        left += len(above)
    return whole


def top_up(sizes: Tensor, left: int, grid: int, *, max_size: int) -> Tensor:
    """Hand out what is left of a cap to rows that have values, by steps of a grid, and the rest of it to one row.

    Args:
        sizes: ``(num_rows,)`` int64 multiples of the grid.
        left: Parameters to hand out.
        grid: What sizes are multiples of.
        max_size: Largest size of a row.

    Returns:
        ``(num_rows,)`` int64; what rows cannot take stays unspent.
    """
    raised = sizes.clone()
    while left >= grid:
        open_rows = ((raised > 0) & (raised <= max_size - grid)).nonzero().squeeze(1)
        if not len(open_rows):
            return raised
        largest_first = open_rows[raised[open_rows].argsort(descending=True, stable=True)]
        raised[largest_first[: left // grid]] += grid
        left -= grid * min(len(open_rows), left // grid)
    if left > 0 and grid > 1:
        open_rows = ((raised > 0) & (raised <= max_size - left)).nonzero().squeeze(1)
        if len(open_rows):
            raised[open_rows[0]] += left
    return raised
