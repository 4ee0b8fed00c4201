"""Table-level actions: the sizes of all rows at once, held as two histograms."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Action(NamedTuple):
    """Sizes for all users and items.

    BET hands sizes out by popularity (Sec. 3.2): the most popular rows get the largest, so how many rows have each
    size says everything. Actions of any other form name the sizes of all rows beside.

    Attributes:
        user_counts: (max_size,) int64, how many users have size 1, 2, ..., max_size.
        item_counts: (max_size,) int64, the same for items.
        user_distribution: Name of the distribution that the user sizes follow.
        user_shape: Its shape parameter.
        item_distribution: The same for items.
        item_shape: The same for items.
        user_share: Share of the budget that users get.
        evenness: How much of equal sizes there is in sizes from a spectrum, from 0 to 1.
        row_sizes: (num_rows,) integers, users first; None where sizes follow popularity.
    """

    user_counts: Tensor
    item_counts: Tensor
    user_distribution: str = ""
    user_shape: float = 0.0
    item_distribution: str = ""
    item_shape: float = 0.0
    user_share: float = 0.0
    evenness: float = 0.0
    row_sizes: Tensor | None = None

    @property
    def params(self) -> int:
        """Parameters over all tables: the sum of sizes."""
        sizes = torch.arange(1, len(self.user_counts) + 1)
        return int(((self.user_counts + self.item_counts) * sizes).sum())

    @property
    def num_filled(self) -> int:
        """Rows that have any parameters."""
        return int((self.user_counts + self.item_counts).sum())

    @property
    def by_popularity(self) -> bool:
        """Whether sizes follow popularity, so that the histograms say everything."""
        return self.row_sizes is None

    def sizes(self, user_order: Tensor, item_order: Tensor) -> Tensor:
        """Sizes by row.

        Args:
            user_order: (num_users,) int64 user rows from the most to the least popular.
            item_order: (num_items,) int64 item rows, likewise.

        Returns:
            (num_users + num_items,) int64 sizes, users first.
        """
        if self.row_sizes is not None:
            return self.row_sizes.long()
        return torch.cat([_sizes(self.user_counts, user_order), _sizes(self.item_counts, item_order)])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as one line of ``actions.jsonl`` holds them; the sizes of single rows are left out."""
        values = self._asdict()
        del values["row_sizes"]
        values.update(user_counts=self.user_counts.tolist(), item_counts=self.item_counts.tolist(), params=self.params)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Action":
        """Read what ``as_dict`` wrote.

        Raises:
            KeyError: If the counts are missing.
        """
        fields = {name: values[name] for name in cls._fields if name in values}
        fields["user_counts"] = torch.as_tensor(values["user_counts"], dtype=torch.int64)
        fields["item_counts"] = torch.as_tensor(values["item_counts"], dtype=torch.int64)
        return cls(**fields)


def stack_counts(actions: Sequence[Action]) -> tuple[Tensor, Tensor]:
    """How many users and how many items of each action have size 1 to max_size: (b, max_size) int64 each."""
    return torch.stack([a.user_counts for a in actions]), torch.stack([a.item_counts for a in actions])


def _sizes(counts: Tensor, order: Tensor) -> Tensor:
    """Sizes by row of one side from its histogram; rows that no size counts get 0."""
    descending = torch.arange(len(counts), 0, -1).repeat_interleave(counts.flip(0))
    sizes = torch.zeros(len(order), dtype=torch.int64)
    sizes[order[: len(descending)]] = descending
    return sizes


class ActionBatch(NamedTuple):
    """Candidate actions, one a row of every tensor.

    Attributes:
        user_counts: (num_actions, max_size) int64.
        item_counts: (num_actions, max_size) int64.
        distributions: (num_actions, 2) int64, index of the user and item distribution in ``names``.
        shapes: (num_actions, 2) float64.
        user_share: (num_actions,) float64.
        names: The distributions' names.
    """

    user_counts: Tensor
    item_counts: Tensor
    distributions: Tensor
    shapes: Tensor
    user_share: Tensor
    names: tuple[str, ...]

    @property
    def sets(self) -> tuple[Tensor, Tensor]:
        """What a fitness predictor sees of the actions: the users' and the items' counts."""
        return self.user_counts, self.item_counts

    def at(self, index: int) -> Action:
        """One of the actions."""
        user, item = self.distributions[index].tolist()
        user_shape, item_shape = self.shapes[index].tolist()
        return Action(
            self.user_counts[index],
            self.item_counts[index],
            self.names[user],
            user_shape,
            self.names[item],
            item_shape,
            float(self.user_share[index]),
        )
