"""Size rules: sizes without a search, under the same strict budget (uniform, random, popularity, a file)."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bet_lightning.allocation import Allocation, allocate, split_cap
from bet_lightning.methods.base import Method, Problem
from bet_lightning.methods.tasks import Epochs, Round, Rounds, Task
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.spending import spend_plainly
from bet_lightning.table_format import TableFormat

FloatArray = npt.NDArray[np.float64]


class SizeRule(Method):
    """Sizes for all rows without a search: a method of one training a budget, from fresh weights.

    BET takes rules too, as the first actions that it probes.

    Args:
        name: Name of the result in tables and files.
        train: How long the training may take.
    """

    def __init__(self, name: str, train: Epochs = Epochs()) -> None:
        self.name = name
        self.train = train

    def run(self, problem: Problem) -> Rounds:
        """Train the sizes of every budget: see :meth:`Method.run`."""
        for name, budget in problem.missing_results(self.name):
            allocation = self.allocate(problem, budget)
            yield Round([Task("retrain", f"train {name}", self.train, name, budget, allocation)], shared=True)

    def allocate(self, problem: Problem, budget: ResolvedBudget) -> Allocation:
        """Return the sizes of all rows for a budget."""

        def sizes_for(cap: int) -> Tensor:
            return self.sizes(*problem.frequencies, cap, budget.shape.width, budget.min_size)

        return spend_plainly(sizes_for, budget)

    @abstractmethod
    def sizes(
        self, user_frequency: Tensor, item_frequency: Tensor, cap: int, max_size: int, min_size: int = 1
    ) -> Tensor:
        """Return sizes by row.

        Args:
            user_frequency: (num_users,) training interactions a user.
            item_frequency: (num_items,) training interactions an item.
            cap: The budget B in parameters.
            max_size: Largest size of a row.
            min_size: Smallest size of a row.

        Returns:
            (num_users + num_items,) int64 sizes, users first, with a sum of at most the cap.
        """


class PopularitySizes(SizeRule):
    """Sizes proportional to a power of popularity (the rule of MDE, Ginart et al. 2019), summing to the cap exactly.

    Args:
        exponent: The power; 0 gives equal sizes.
        user_share: Share of the budget for users in (0, 1), moved to the nearest share that both sides can spend;
            None weighs users and items together.
        name: Name of the result.
        train: How long the training may take.

    Raises:
        ValueError: If the user share is out of range.
    """

    def __init__(
        self,
        exponent: float = 0.5,
        user_share: float | None = None,
        name: str = "popularity",
        train: Epochs = Epochs(),
    ) -> None:
        super().__init__(name, train)
        if user_share is not None and not 0 < user_share < 1:
            raise ValueError(f"search.method.user_share must be in (0, 1), got {user_share}")
        self.exponent, self.user_share = exponent, user_share

    def sizes(
        self, user_frequency: Tensor, item_frequency: Tensor, cap: int, max_size: int, min_size: int = 1
    ) -> Tensor:
        """See ``SizeRule.sizes``."""
        sides = [frequency.double().cpu().numpy() for frequency in (user_frequency, item_frequency)]
        caps = [cap]
        if self.user_share is None:
            sides = [np.concatenate(sides)]
        else:
            num_users, num_items = map(len, sides)
            user_cap = split_cap(cap, self.user_share, num_users, num_items, min_size=min_size, max_size=max_size)
            caps = [user_cap, cap - user_cap]
        sizes = []
        for frequency, side_cap in zip(sides, caps, strict=True):
            order = np.argsort(-frequency, kind="stable")
            side = np.empty(len(frequency), dtype=np.int64)
            # the most popular row comes first, so that it is the first to get what is left over
            side[order] = allocate(self.weights(frequency[order]), side_cap, min_size=min_size, max_size=max_size)
            sizes.append(side)
        return torch.from_numpy(np.concatenate(sizes))

    def weights(self, frequency: FloatArray) -> FloatArray:
        """Return what sizes are proportional to, from training frequencies (num_rows,) in descending order.

        Raises:
            ValueError: If the exponent makes them too large to be compared.
        """
        with np.errstate(over="ignore", divide="ignore"):
            weights = np.asarray(frequency**self.exponent)
        if not np.isfinite(weights).all():
            raise ValueError(f"search.method.exponent {self.exponent} is beyond what sizes can follow")
        return weights


class UniformSizes(PopularitySizes):
    """Equal sizes; the parameters left over give the most frequent rows one more each.

    Args:
        user_share: See ``PopularitySizes``.
        name: Name of the result.
        train: How long the training may take.
    """

    def __init__(self, user_share: float | None = None, name: str = "uniform", train: Epochs = Epochs()) -> None:
        super().__init__(0.0, user_share, name, train)


class RandomSizes(PopularitySizes):
    """Sizes proportional to uniform random numbers.

    Args:
        seed: Seed of the numbers.
        user_share: See ``PopularitySizes``.
        name: Name of the result.
        train: How long the training may take.
    """

    def __init__(
        self, seed: int = 0, user_share: float | None = None, name: str = "random", train: Epochs = Epochs()
    ) -> None:
        super().__init__(0.0, user_share, name, train)
        if seed < 0:
            raise ValueError(f"search.method.seed must not be negative, got {seed}")
        self.seed = seed

    def weights(self, frequency: FloatArray) -> FloatArray:
        """Return uniform numbers in [0, 1)."""
        return np.random.default_rng([self.seed, len(frequency)]).random(len(frequency))


class FileSizes(SizeRule):
    """Sizes from a text file with one integer a line: all users in row order, then all items.

    A run writes such a file for each of its results (``sizes/<name>.txt``).

    Args:
        path: The file.
        name: Name of the result.
        train: How long the training may take.
    """

    def __init__(self, path: str, name: str = "file", train: Epochs = Epochs()) -> None:
        super().__init__(name, train)
        self.path = path

    def allocate(self, problem: Problem, budget: ResolvedBudget) -> Allocation:
        """Return the sizes of the file.

        Raises:
            ValueError: If they cost more than the budget.
        """
        shape = budget.shape
        cap = budget.params if budget.unit == "params" else shape.params
        sizes = self.sizes(*problem.frequencies, cap, shape.width, budget.min_size)
        allocation = Allocation(sizes, TableFormat(budget.plain.dtype))
        taken = allocation.num_bytes(shape)
        if budget.unit == "bytes" and taken > budget.bytes:
            raise ValueError(f"{self.path}: the sizes take {taken} bytes, over the budget of {budget.bytes}")
        return allocation

    def sizes(
        self, user_frequency: Tensor, item_frequency: Tensor, cap: int, max_size: int, min_size: int = 1
    ) -> Tensor:
        """Read and check the sizes; arguments and result as in ``SizeRule.sizes``, the sum may be below the cap.

        Raises:
            ValueError: If the file is not one integer a row within bounds, or exceeds the cap.
        """
        sizes = read_sizes(self.path)
        num_rows = len(user_frequency) + len(item_frequency)
        if len(sizes) != num_rows:
            raise ValueError(f"{self.path}: {len(sizes)} sizes for {num_rows} rows")
        if not min_size <= int(sizes.min()) <= int(sizes.max()) <= max_size:
            worst = int(sizes.min()) if int(sizes.min()) < min_size else int(sizes.max())
            raise ValueError(f"{self.path}: size {worst} is not in {min_size}..{max_size}")
        if int(sizes.sum()) > cap:
            raise ValueError(f"{self.path}: the sizes sum to {int(sizes.sum())}, over the budget of {cap} parameters")
        return sizes


def read_sizes(path: str) -> Tensor:
    """Return sizes (num_rows,) int64 from a text file with one integer a line.

    Raises:
        ValueError: If the file is missing, empty or holds anything else.
    """
    try:
        words = Path(path).read_text().split()
        sizes = np.array(words, dtype=np.int64)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected one integer a line ({error})") from None
    if not words:
        raise ValueError(f"{path}: the file of sizes is empty")
    return torch.from_numpy(sizes)


def write_sizes(path: Path, sizes: Tensor) -> None:
    """Write sizes (num_rows,) as ``read_sizes`` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, sizes.tolist())) + "\n")
