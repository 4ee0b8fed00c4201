"""The memory budget: one integer cap on the parameters of all embedding tables, and how it is met exactly."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
VALUE_BYTES: dict[Dtype, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
SCALE_BYTES = 2  # of a row's scale in a table of int8

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_BYTES_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(value: int | str) -> int:
    """Convert ``3600000``, ``"3.6MB"`` or ``"4MiB"`` to bytes.

    Raises:
        ValueError: If the text is not a positive number with one of the units B, KB, MB, GB, KiB, MiB, GiB.
    """
    match = _BYTES_PATTERN.fullmatch(str(value))
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(f"budget.bytes must look like 3600000, '3.6MB' or '4MiB', got {value!r}")
    return int(float(match[1]) * unit)


def size_bytes(max_size: int, min_size: int = 1) -> int:
    """Bytes a packed table spends on the size of one row: 1 for up to 256 sizes, 2 beyond."""
    return 1 if max_size - min_size < 256 else 2


def packed_bytes(
    params: int, num_rows: int, max_size: int, *, dtype: Dtype = "fp32", min_size: int = 1, num_tables: int = 1
) -> int:
    """Bytes of a packed table: values, the size of every row unless the table is full, the scales of int8.

    Args:
        params: Sum of the sizes.
        num_rows: Rows.
        max_size: Largest size of a row, over all tables of the backbone.
        dtype: What a value is stored as.
        min_size: Smallest size of a row.
        num_tables: Tables of the backbone; each has scales of its own.
    """
    sizes = size_bytes(max_size, min_size) if params < num_rows * max_size else 0
    scales = SCALE_BYTES * num_tables if dtype == "int8" else 0
    return params * VALUE_BYTES[dtype] + num_rows * (sizes + scales)


def format_bytes(num_bytes: float) -> str:
    """Bytes for people, in decimal units: ``3.63 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.2f} {unit}"
    return f"{num_bytes:.0f} B"


@dataclass(frozen=True)
class Budget:
    """A memory budget, given in exactly one form.

    Args:
        keep_ratio: Share c of the full table's parameters that may be kept, in (0, 1].
        sparsity: The share that must go, ``1 - keep_ratio``, in [0, 1).
        params: Number of parameters over all embedding tables together.
        bytes: What a deployment loads, e.g. ``"3.6MB"``: values plus the size of every row.
        dtype: What values are stored as, which ``bytes`` counts. Tables are trained in float32 all the same.

    Raises:
        ValueError: If not exactly one form is given, its value is out of range or there is no such dtype.
    """

    keep_ratio: float | None = None
    sparsity: float | None = None
    params: int | None = None
    bytes: int | str | None = None
    dtype: Dtype = "fp32"

    def __post_init__(self) -> None:
        forms = ("keep_ratio", "sparsity", "params", "bytes")
        given = [form for form in forms if getattr(self, form) is not None]
        if len(given) != 1:
            raise ValueError(
                f"budget needs exactly one of {', '.join(forms)}, got {', '.join(given) if given else 'none'}"
            )
        if self.keep_ratio is not None and not 0 < self.keep_ratio <= 1:
            raise ValueError(f"budget.keep_ratio must be in (0, 1], got {self.keep_ratio}")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(f"budget.sparsity must be in [0, 1), got {self.sparsity}")
        if self.params is not None and self.params < 1:
            raise ValueError(f"budget.params must be positive, got {self.params}")
        if self.bytes is not None:
            parse_bytes(self.bytes)
        if self.dtype not in VALUE_BYTES:
            raise ValueError(f"budget.dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}")

    def cap(self, num_rows: int, max_size: int, *, min_size: int = 1, num_tables: int = 1) -> int:
        """Resolve the budget to the largest allowed sum of sizes.

        Args:
            num_rows: Rows of the table, users and items together.
            max_size: Largest size of a row, over all tables of the backbone.
            min_size: Smallest size of a row.
            num_tables: Tables of the backbone.

        Returns:
            The cap B in parameters, with ``min_size * num_rows <= B <= max_size * num_rows``.

        Raises:
            ValueError: If no table fits into the budget, or the budget exceeds the full table.
        """
        smallest, full = max(1, min_size * num_rows), num_rows * max_size
        table = {"num_rows": num_rows, "max_size": max_size, "min_size": min_size, "num_tables": num_tables}
        if self.params is not None:
            form, cap, low, high = "params", self.params, f"{smallest}", f"{full}"
        elif self.bytes is not None:
            overhead = packed_bytes(0, **table, dtype=self.dtype)
            form, cap = "bytes", (parse_bytes(self.bytes) - overhead) // VALUE_BYTES[self.dtype]
            low = f"{packed_bytes(smallest, **table, dtype=self.dtype)}"
            high = f"{full * VALUE_BYTES[self.dtype] + overhead}"
        else:
            form = "keep_ratio" if self.keep_ratio is not None else "sparsity"
            keep = self.keep_ratio if self.keep_ratio is not None else 1 - (self.sparsity or 0.0)
            # the small term undoes binary rounding: 1 - 0.9 must keep a tenth, not a parameter less
            cap = min(full, int(keep * full * (1 + 1e-12)))
            ratio = -(-smallest * 10**6 // full) / 10**6
            low, high = (f"{ratio:g}", "1") if form == "keep_ratio" else (f"{1 - ratio:g} (largest)", "0")
        given = getattr(self, form)
        if cap < smallest:
            raise ValueError(
                f"budget.{form} {given} leaves {max(cap, 0)} parameters for {num_rows} rows of at least {min_size}: "
                f"the smallest feasible budget.{form} is {low}"
            )
        if cap > full:
            raise ValueError(
                f"budget.{form} {given} exceeds the full table of {full} parameters: "
                f"the largest feasible budget.{form} is {high}"
            )
        return cap


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
    """Parameters for users: their share of the cap, moved to the nearest that both sides can spend."""
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
