"""The memory budget: what a user gives, and what it resolves to on the tables of a backbone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
VALUE_BYTES: dict[Dtype, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
SCALE_BYTES = 2  # of a row's scale in a table of int8

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SHORT_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|[A-Za-z]*)\s*")
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
    """Return the bytes that a packed table spends on the size of a row: 1 for up to 256 sizes, 2 beyond."""
    return 1 if max_size - min_size < 256 else 2


def packed_bytes(
    params: int, num_rows: int, max_size: int, *, dtype: Dtype = "fp32", min_size: int = 1, num_tables: int = 1
) -> int:
    """Return the bytes of a packed table: values, the size of every row unless the table is full, the scales of int8.

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
    """Return bytes as people read them, in decimal units: ``3.63 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.2f} {unit}"
    return f"{num_bytes:.0f} B"


@dataclass(frozen=True)
class TableShape:
    """The full table of a backbone, over all of its embedding tables.

    Attributes:
        num_users: Rows of users.
        num_items: Rows of items.
        width: Largest size of a row, over all tables.
        num_tables: Tables of the backbone.
    """

    num_users: int
    num_items: int
    width: int
    num_tables: int = 1

    @property
    def num_rows(self) -> int:
        """Rows of a table."""
        return self.num_users + self.num_items

    @property
    def params(self) -> int:
        """Parameters of the full table."""
        return self.num_rows * self.width

    def packed_bytes(self, params: int, *, dtype: Dtype = "fp32", min_size: int = 1) -> int:
        """Return the bytes of a packed table with so many parameters: see :func:`packed_bytes`."""
        return packed_bytes(
            params, self.num_rows, self.width, dtype=dtype, min_size=min_size, num_tables=self.num_tables
        )


@dataclass(frozen=True)
class ResolvedBudget:
    """A budget on the tables of one backbone: everything that is to be known of it, in one object.

    Attributes:
        name: As the user gave it: the share that is kept (``0.1``), ``5000`` parameters or ``2MB``.
        unit: Whether the user counts parameters or bytes.
        params: The cap B: the largest sum of sizes of a prefix table.
        bytes: Bytes of a packed prefix table with that many parameters; the user's own number where bytes are given.
        dtype: What values are stored as.
        min_size: Smallest size of a row.
        shape: The full table.
    """

    name: str
    unit: Literal["params", "bytes"]
    params: int
    bytes: int
    dtype: Dtype
    min_size: int
    shape: TableShape

    @property
    def keep_ratio(self) -> float:
        """Share of the full table's parameters that may be kept."""
        return self.params / self.shape.params

    def check(self, params: int, num_bytes: int, *, is_prefix: bool) -> None:
        """Refuse a table that costs more: the last line of defence, as every method keeps within by construction.

        Args:
            params: Its parameters.
            num_bytes: Its bytes as float32, with whatever index it needs.
            is_prefix: Whether it is a prefix table, whose bytes follow from its parameters and the dtype.

        Raises:
            ValueError: If it is over the budget.
        """
        if params > self.params and (is_prefix or self.unit == "params"):
            raise ValueError(f"the table has {params} parameters, over the budget of {self.params}")
        if num_bytes > self.bytes and not is_prefix and self.unit == "bytes":
            raise ValueError(f"the table has {num_bytes} bytes, over the budget of {self.bytes}")


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

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read a short form: ``10%`` or ``0.1`` is a share to keep, ``2MB`` a number of bytes, ``5000`` of parameters.

        Raises:
            ValueError: If it is none of these.
        """
        match = _SHORT_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"budget must look like 10%, 0.1, 5000 (parameters) or 2MB, got {text!r}")
        number, unit = match.groups()
        if unit == "%":
            return cls(keep_ratio=float(number) / 100)
        if unit:
            return cls(bytes=text)
        return cls(params=int(number)) if number.isdecimal() else cls(keep_ratio=float(number))

    @property
    def name(self) -> str:
        """How results for this budget are called: the share kept, the parameters or the bytes, as given."""
        if self.params is not None:
            return str(self.params)
        if self.bytes is not None:
            return "".join(str(self.bytes).split()) if isinstance(self.bytes, str) else f"{self.bytes}B"
        return f"{self._kept():.10g}"

    def _kept(self) -> float:
        return self.keep_ratio if self.keep_ratio is not None else 1 - (self.sparsity or 0.0)

    def resolve(self, shape: TableShape, min_size: int = 1) -> ResolvedBudget:
        """Work out what the budget means for the tables of a backbone.

        Args:
            shape: The full table.
            min_size: Smallest size of a row.

        Raises:
            ValueError: If no table fits into the budget, or the budget exceeds the full table.
        """
        cap = self.cap(shape, min_size)
        in_bytes = self.bytes is not None
        needed = shape.packed_bytes(cap, dtype=self.dtype, min_size=min_size)
        return ResolvedBudget(
            self.name,
            "bytes" if in_bytes else "params",
            cap,
            parse_bytes(self.bytes) if self.bytes is not None else needed,
            self.dtype,
            min_size,
            shape,
        )

    def cap(self, shape: TableShape, min_size: int = 1) -> int:
        """Resolve the budget to the largest allowed sum of sizes.

        Args:
            shape: The full table.
            min_size: Smallest size of a row.

        Returns:
            The cap B in parameters, with ``min_size * num_rows <= B <= width * num_rows``.

        Raises:
            ValueError: If no table fits into the budget, or the budget exceeds the full table.
        """
        num_rows, full = shape.num_rows, shape.params
        smallest = max(1, min_size * num_rows)
        if self.params is not None:
            form, cap, low, high = "params", self.params, f"{smallest}", f"{full}"
        elif self.bytes is not None:
            overhead = shape.packed_bytes(0, dtype=self.dtype, min_size=min_size)
            form, cap = "bytes", (parse_bytes(self.bytes) - overhead) // VALUE_BYTES[self.dtype]
            low = f"{shape.packed_bytes(smallest, dtype=self.dtype, min_size=min_size)}"
            high = f"{full * VALUE_BYTES[self.dtype] + overhead}"
        else:
            form = "keep_ratio" if self.keep_ratio is not None else "sparsity"
            # the small term undoes binary rounding: 1 - 0.9 must keep a tenth, not a parameter less
            cap = min(full, int(self._kept() * full * (1 + 1e-12)))
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


def resolve_budgets(budgets: Sequence[Budget], shape: TableShape, min_size: int) -> tuple[ResolvedBudget, ...]:
    """Resolve several budgets for one backbone, the largest first, so that their order is without effect.

    Raises:
        ValueError: If there is none, one cannot be met, or two are the same.
    """
    resolved = sorted((budget.resolve(shape, min_size) for budget in budgets), key=lambda budget: -budget.params)
    caps = [budget.params for budget in resolved]
    names = [budget.name for budget in resolved]
    if not caps or len(set(caps)) < len(caps) or len(set(names)) < len(names):
        raise ValueError(f"search.budget needs budgets that differ, got {caps} parameters")
    return tuple(resolved)
