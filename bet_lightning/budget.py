"""The memory budget: what a user gives, and what it resolves to on the tables of a backbone."""

import bisect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bet_lightning.dtypes import Dtype
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.table_format import TableFormat, TableShape, formats_within, size_grid

Covers = Literal["table", "deployment", "history"]
Beside = Callable[[bool], int]  # bytes that a deployment loads beside the table, with or without the history
FORMS = ("keep_ratio", "sparsity", "params", "bytes")  # in one of which a budget is given
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


def format_bytes(num_bytes: float) -> str:
    """Return bytes as people read them, in decimal units: ``3.63 MB``."""
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
        bytes: Bytes as a deployment loads them, e.g. ``"3.6MB"``: values, steps and sizes of rows, as written.
        covers: What ``bytes`` covers: the embedding ``table``; the ``deployment``, with dense weights, the graph or
            popularity; or also the ``history`` of what users have seen. Ids are apart.
        dtype: What values are held as. Default: what the search finds best for ``bytes``, else float32.

    Raises:
        ValueError: If not exactly one form is given, its value is out of range or there is no such dtype.
    """

    keep_ratio: float | None = None
    sparsity: float | None = None
    params: int | None = None
    bytes: int | str | None = None
    dtype: Dtype | None = None
    covers: Covers = "table"

    def __post_init__(self) -> None:
        given = [form for form in FORMS if getattr(self, form) is not None]
        if len(given) != 1:
            raise ValueError(
                f"budget needs exactly one of {', '.join(FORMS)}, got {', '.join(given) if given else 'none'}"
            )
        if self.keep_ratio is not None and not 0 < self.keep_ratio <= 1:
            raise ValueError(f"budget.keep_ratio must be in (0, 1], got {self.keep_ratio}")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(f"budget.sparsity must be in [0, 1), got {self.sparsity}")
        if self.params is not None and self.params < 1:
            raise ValueError(f"budget.params must be positive, got {self.params}")
        if self.bytes is not None:
            parse_bytes(self.bytes)
        if self.covers not in get_args(Covers):
            raise ValueError(f"budget.covers must be one of {', '.join(get_args(Covers))}, got {self.covers!r}")
        if self.covers != "table" and self.bytes is None:
            raise ValueError(f"budget.covers {self.covers} needs a budget in bytes")
        if self.dtype is not None and self.dtype not in get_args(Dtype):
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

    def resolve(self, shape: TableShape, min_size: int = 1, beside: Beside = lambda history: 0) -> ResolvedBudget:
        """Work out what the budget means for the tables of a backbone.

        Args:
            shape: The full table.
            min_size: Smallest size of a row.
            beside: Returns bytes that a deployment loads beside the table, with or without the history.

        Raises:
            ValueError: If no table fits into the budget, or the budget exceeds the full table.
        """
        if self.bytes is not None:
            others = 0 if self.covers == "table" else beside(self.covers == "history")
            num_bytes = parse_bytes(self.bytes) - others
            formats = self._formats(shape, min_size, num_bytes, others)
            plain = formats[-1].cap(shape, num_bytes, min_size=min_size)
            return ResolvedBudget(self.name, "bytes", plain, num_bytes, formats, min_size, shape, others)
        cap = self.cap(shape, min_size)
        form = TableFormat(self.dtype or "fp32")
        return ResolvedBudget(self.name, "params", cap, form.most_bytes(shape, cap, min_size), (form,), min_size, shape)

    def _formats(self, shape: TableShape, min_size: int, num_bytes: int, others: int) -> tuple[TableFormat, ...]:
        """Formats that so many bytes for the table can be spent in, beside others.

        Raises:
            ValueError: If there is none, or it exceeds the full table.
        """
        formats = self._formats_within(shape, num_bytes, min_size)
        if not formats:
            least = bisect.bisect_left(
                range(8 * shape.params), True, key=lambda few: bool(self._formats_within(shape, few, min_size))
            )
            beside = f", {others} of them beside the table"
            raise ValueError(
                f"budget.bytes {self.bytes} is too little for {shape.num_rows} rows of at least {min_size} parameters: "
                f"the smallest feasible budget.bytes is {least + others}{beside if others else ''}"
            )
        largest = TableFormat(self.dtype or "fp32").most_bytes(shape, shape.params, min_size)
        if num_bytes > largest:
            raise ValueError(
                f"budget.bytes {self.bytes} exceeds the full table of {shape.params} parameters: "
                f"the largest feasible budget.bytes is {largest + others}"
            )
        return formats

    def _formats_within(self, shape: TableShape, num_bytes: int, min_size: int) -> tuple[TableFormat, ...]:
        """Formats that so many bytes are enough for, none if they are too few."""
        if self.dtype is None:
            return formats_within(shape, num_bytes, min_size)
        form = TableFormat(self.dtype, size_grid(shape, num_bytes, min_size, self.dtype))
        return (form,) if form.is_feasible(shape, num_bytes, min_size) else ()

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
            return self.resolve(shape, min_size).params
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


BudgetLike = Budget | str | int | float


def parse_budgets(given: Sequence[BudgetLike] | BudgetLike | None) -> list[Budget]:
    """Read one budget or several, each in full or in a short form; none is a tenth of the full table's parameters.

    Raises:
        ValueError: If one is no budget, or the list is empty.
    """
    if given is None:
        return [Budget(keep_ratio=0.1)]
    several = [given] if isinstance(given, BudgetLike) else list(given)
    if not several:
        raise ValueError("search.budget needs at least one budget, got []")
    return [each if isinstance(each, Budget) else Budget.parse(str(each)) for each in several]


def resolve_budgets(
    budgets: Sequence[Budget], shape: TableShape, min_size: int, beside: Beside = lambda history: 0
) -> tuple[ResolvedBudget, ...]:
    """Resolve several budgets for one backbone, the largest first, so that their order is without effect.

    Args:
        budgets: The budgets.
        shape: The full table.
        min_size: Smallest size of a row.
        beside: Returns bytes that a deployment loads beside the table, with or without the history.

    Raises:
        ValueError: If there is none, one cannot be met, or two are the same.
    """
    return largest_first(budget.resolve(shape, min_size, beside) for budget in budgets)


def largest_first(resolved: Iterable[ResolvedBudget]) -> tuple[ResolvedBudget, ...]:
    """Sort budgets of one backbone, so that the order in which they were given is without effect.

    Raises:
        ValueError: If there is none, or two are the same.
    """
    budgets = tuple(sorted(resolved, key=lambda budget: (-budget.bytes, -budget.params)))
    amounts = [(budget.unit, budget.amount) for budget in budgets]
    names = [budget.name for budget in budgets]
    if not amounts or len(set(amounts)) < len(amounts) or len(set(names)) < len(names):
        given = ", ".join(f"{amount} {unit}" for unit, amount in amounts)
        raise ValueError(f"search.budget needs budgets that differ, got {given or 'none'}")
    return budgets
