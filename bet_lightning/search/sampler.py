"""The bounded sampler H of BET (Sec. 3.2): candidate actions that spend the budget to the last parameter."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bet_lightning.budget import allocate
from bet_lightning.search.action import ActionBatch
from bet_lightning.search.distributions import DISTRIBUTIONS, MIN_RELATIVE_SHAPE

Realization = Literal["quantile", "draws"]

_BISECTIONS = 60
_CHUNK = 1024  # actions realised at once, which bounds temporaries to a few MB


class BoundedSampler:
    """Draws actions whose sizes sum to the cap exactly.

    For users and items independently a distribution and its shape are drawn, and the budget is split by a user share
    w ~ U(0, 1), restricted to shares that both sides can spend. How sizes follow from a distribution is the
    realisation: ``draws`` takes one random value a row and sorts, as the paper does, in O(num_rows) an action;
    ``quantile`` takes the distribution's quantiles instead, which is what sorted draws converge to, in O(max_size).

    Args:
        num_users: Number of users.
        num_items: Number of items.
        cap: The budget B in parameters.
        max_size: Largest size of a row.
        min_size: Smallest size of a row.
        realization: ``quantile`` or ``draws``.

    Raises:
        ValueError: If the cap cannot be met by sizes within the bounds.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        cap: int,
        max_size: int,
        min_size: int = 1,
        realization: Realization = "quantile",
    ) -> None:
        num_rows = num_users + num_items
        if not min_size * num_rows <= cap <= max_size * num_rows:
            raise ValueError(
                f"cap must be in [{min_size * num_rows}, {max_size * num_rows}] for {num_rows} rows, got {cap}"
            )
        self.num_users, self.num_items = num_users, num_items
        self.cap, self.max_size, self.min_size = cap, max_size, min_size
        self.realization = realization
        self.user_bounds = (
            max(min_size * num_users, cap - max_size * num_items),
            min(max_size * num_users, cap - min_size * num_items),
        )

    def sample(self, num_actions: int, generator: torch.Generator) -> ActionBatch:
        """Draw actions.

        Args:
            num_actions: How many.
            generator: The only source of randomness.
        """
        kinds = torch.randint(len(DISTRIBUTIONS), (num_actions, 2), generator=generator)
        uniform = torch.rand(num_actions, 2, generator=generator, dtype=torch.float64)
        max_shapes = torch.tensor([d.max_shape for d in DISTRIBUTIONS], dtype=torch.float64)
        shapes = max_shapes[kinds] * uniform.clamp(min=MIN_RELATIVE_SHAPE)
        low, high = self.user_bounds
        share = torch.rand(num_actions, generator=generator, dtype=torch.float64)
        user_caps = (low + share * (high - low)).round().long()
        caps = torch.stack([user_caps, self.cap - user_caps], dim=1)
        if self.realization == "draws":
            user_counts, item_counts = self._from_draws(kinds, shapes, caps, generator)
        else:
            user_counts, item_counts = self._from_quantiles(kinds, shapes, caps)
        names = tuple(d.name for d in DISTRIBUTIONS)
        return ActionBatch(user_counts, item_counts, kinds, shapes, user_caps.double() / self.cap, names)

    def _from_draws(
        self, kinds: Tensor, shapes: Tensor, caps: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        counts = torch.zeros(2, len(kinds), self.max_size, dtype=torch.int64)
        for action in range(len(kinds)):
            for side, num_rows in enumerate((self.num_users, self.num_items)):
                uniform = torch.rand(num_rows, generator=generator, dtype=torch.float64).clamp(min=1e-12)
                draws = DISTRIBUTIONS[int(kinds[action, side])].quantile(uniform, shapes[action, side])
                sizes = allocate(draws.numpy(), int(caps[action, side]), min_size=self.min_size, max_size=self.max_size)
                histogram = np.bincount(sizes, minlength=self.max_size + 1)[1:]
                counts[side, action] = torch.from_numpy(histogram)
        return counts[0], counts[1]

    def _from_quantiles(self, kinds: Tensor, shapes: Tensor, caps: Tensor) -> tuple[Tensor, Tensor]:
        sides = torch.tensor([self.num_users, self.num_items]).expand(len(kinds), 2)
        flat = [t.reshape(-1).split(2 * _CHUNK) for t in (kinds, shapes, sides, caps)]
        counts = [
            quantile_counts(*parts, min_size=self.min_size, max_size=self.max_size) for parts in zip(*flat, strict=True)
        ]
        both = torch.cat(counts).view(len(kinds), 2, self.max_size)
        return both[:, 0], both[:, 1]


def quantile_counts(
    kinds: Tensor, shapes: Tensor, num_rows: Tensor, caps: Tensor, *, min_size: int, max_size: int
) -> Tensor:
    """Histograms of the sizes that follow a distribution's quantiles and sum to a cap.

    With draws scaled by s and rounded, ``num_rows * P(s x > d - 1/2)`` rows have at least size d. The scale at which
    these tails sum to the cap is found by bisection, tails are floored, and what is left goes to the largest
    remainders.

    Args:
        kinds: (b,) int64 indices into ``DISTRIBUTIONS``.
        shapes: (b,) float64.
        num_rows: (b,) int64.
        caps: (b,) int64, within ``[min_size, max_size] * num_rows``.
        min_size: Smallest size of a row.
        max_size: Largest size of a row.

    Returns:
        (b, max_size) int64 counts of rows with size 1 to max_size; the sizes of each row of it sum to its cap.
    """
    levels = torch.arange(1, max_size + 1, dtype=torch.float64) - 0.5
    groups = [(d.survival, rows) for k, d in enumerate(DISTRIBUTIONS) if len(rows := torch.where(kinds == k)[0])]
    rows_double = num_rows.double()[:, None]

    def tails(log_scale: Tensor) -> Tensor:
        x = levels / torch.exp(log_scale)[:, None]
        share = torch.empty_like(x)
        for survival, rows in groups:
            share[rows] = survival(x[rows], shapes[rows, None])
        share[:, :min_size] = 1.0
        return share * rows_double

    lower = torch.full_like(shapes, -700.0)
    upper = -lower
    for _ in range(_BISECTIONS):
        middle = (lower + upper) / 2
        below = tails(middle).sum(1) <= caps
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    real = tails(lower)
    tail = real.floor().long()
    left = caps - tail.sum(1)
    remainder = real - tail
    by_remainder = remainder.argsort(dim=1, descending=True, stable=True)
    promoted = torch.minimum(left, (remainder > 0).sum(1))
    tail.scatter_add_(1, by_remainder, (torch.arange(max_size) < promoted[:, None]).long())
    left = left - promoted
    if left.any():  # a distribution so narrow that no scale comes closer: promote the smallest rows
        above = num_rows
        for level in range(max_size):
            added = torch.minimum(left, above - tail[:, level])
            tail[:, level] += added
            left -= added
            above = tail[:, level]
    return tail - torch.nn.functional.pad(tail[:, 1:], (0, 1))
