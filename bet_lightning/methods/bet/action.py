"""Table-level actions: the sizes of all rows at once, held as two histograms."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bet_lightning.table_format import FLOAT32, TableFormat


@dataclass(frozen=True)
class Draw:
    """What an action was made from; every family has a subclass with its own numbers.

    Attributes:
        kind: Name in files.
        user_share: Share of the budget that users get.
    """

    kind: ClassVar[str]
    user_share: float

    def is_near(self, other: Draw, difference: float) -> bool:
        """Whether actions of both draws train alike, their numbers being nearer than a difference."""
        return type(self) is type(other) and abs(self.user_share - other.user_share) < difference

    def as_dict(self) -> dict[str, Any]:
        """Return the kind and the numbers as plain values."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class RuleDraw(Draw):
    """Sizes of a rule, which draws nothing.

    Attributes:
        rule: Name of the rule.
    """

    kind: ClassVar[str] = "rule"
    rule: str


def read_draw(values: dict[str, Any]) -> Draw:
    """Return the draw that ``as_dict`` wrote, with other values beside it; a family must have been imported.

    Raises:
        KeyError: If there is no such kind, or a number is missing.
    """
    kind = {each.kind: each for each in _subclasses(Draw)}[values["kind"]]
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name != "kind"})


def _subclasses(kind: type[Draw]) -> list[type[Draw]]:
    return [each for child in kind.__subclasses__() for each in (child, *_subclasses(child))]


@dataclass(frozen=True, eq=False)
class Action:
    """Sizes for all users and items.

    BET hands sizes out by popularity (Sec. 3.2): the most popular rows get the largest, so how many rows have each
    size says everything. Actions of any other form have the sizes of all rows beside.

    Attributes:
        user_counts: (max_size,) int64, how many users have size 1, 2, ..., max_size.
        item_counts: (max_size,) int64, the same for items.
        draw: What it was made from.
        row_sizes: (num_rows,) integers, users first; None where sizes follow popularity.
        form: What values are held as.
        budget_bytes: The budget that it was made for, where that is in bytes.
    """

    user_counts: Tensor
    item_counts: Tensor
    draw: Draw
    row_sizes: Tensor | None = None
    form: TableFormat = FLOAT32
    budget_bytes: int | None = None

    @classmethod
    def from_sizes(cls, sizes: Tensor, num_users: int, max_size: int, draw: Draw) -> Action:
        """Make an action of the sizes (num_rows,) of all rows."""
        users, items = (
            torch.bincount(side, minlength=max_size + 1)[1:] for side in (sizes[:num_users], sizes[num_users:])
        )
        dtype = torch.uint8 if max_size <= torch.iinfo(torch.uint8).max else torch.int16
        return cls(users, items, draw, sizes.to(dtype))

    @property
    def params(self) -> int:
        """Parameters over all tables: the sum of sizes."""
        sizes = torch.arange(1, len(self.user_counts) + 1)
        return int(((self.user_counts + self.item_counts) * sizes).sum())

    @property
    def amount(self) -> int:
        """The budget that it spends, in the budget's unit."""
        return self.params if self.budget_bytes is None else self.budget_bytes

    @property
    def num_filled(self) -> int:
        """Rows that have any parameters."""
        return int((self.user_counts + self.item_counts).sum())

    @property
    def key(self) -> int:
        """A checksum of sizes and format, by which an action that was probed is known again."""
        values = (self.user_counts, self.item_counts) if self.row_sizes is None else (self.row_sizes,)
        checksum = zlib.crc32(self.form.dtype.encode())
        for value in values:
            checksum = zlib.crc32(value.contiguous().numpy().tobytes(), checksum)
        return checksum

    def sizes(self, user_order: Tensor, item_order: Tensor) -> Tensor:
        """Return sizes by row.

        Args:
            user_order: (num_users,) int64 user rows from the most to the least popular.
            item_order: (num_items,) int64 item rows from the most to the least popular.

        Returns:
            (num_users + num_items,) int64 sizes, users first.
        """
        if self.row_sizes is not None:
            return self.row_sizes.long()
        return torch.cat([_sizes(self.user_counts, user_order), _sizes(self.item_counts, item_order)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as one line of ``actions.jsonl`` holds them; the sizes of single rows are left out."""
        return {
            **self.draw.as_dict(),
            "user_counts": self.user_counts.tolist(),
            "item_counts": self.item_counts.tolist(),
            "params": self.params,
            "dtype": self.form.dtype,
            "grid": self.form.grid,
            "budget_bytes": self.budget_bytes,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Action:
        """Read what ``as_dict`` wrote.

        Raises:
            KeyError: If a value is missing.
        """
        users, items = (torch.as_tensor(values[f"{side}_counts"], dtype=torch.int64) for side in ("user", "item"))
        form = TableFormat(values.get("dtype", "fp32"), values.get("grid", 1))
        return cls(users, items, read_draw(values), None, form, values.get("budget_bytes"))

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, as tensors and plain values."""
        return {
            "user_counts": self.user_counts,
            "item_counts": self.item_counts,
            "draw": self.draw.as_dict(),
            "row_sizes": self.row_sizes,
            "form": asdict(self.form),
            "budget_bytes": self.budget_bytes,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Action:
        """Read what ``state_dict`` wrote."""
        form = TableFormat(**state["form"]) if "form" in state else FLOAT32
        return cls(**{**state, "draw": read_draw(state["draw"]), "form": form})


class Sets(NamedTuple):
    """What a predictor sees of some actions, one a row of every tensor.

    Attributes:
        users: The users' sets: how many have each size, in the form of the family.
        items: The items' sets.
        precision: (b,) float32, how finely values are held: 1 for float32, 0 for two levels.
    """

    users: Tensor
    items: Tensor
    precision: Tensor


def precision_of(actions: Sequence[Action]) -> Tensor:
    """Return (b,) float32, how finely the values of actions are held, from 0 to 1."""
    return torch.tensor([action.form.precision for action in actions])


def stack_counts(actions: Sequence[Action]) -> Sets:
    """Return how many users and items of each action have size 1 to max_size: (b, max_size) int64 each."""
    users, items = (torch.stack([getattr(a, name) for a in actions]) for name in ("user_counts", "item_counts"))
    return Sets(users, items, precision_of(actions))


def _sizes(counts: Tensor, order: Tensor) -> Tensor:
    """Sizes by row of one side from its histogram; rows that no size counts get 0."""
    descending = torch.arange(len(counts), 0, -1).repeat_interleave(counts.flip(0))
    sizes = torch.zeros(len(order), dtype=torch.int64)
    sizes[order[: len(descending)]] = descending
    return sizes
