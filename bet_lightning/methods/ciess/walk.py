"""Random walks on the graph of sizes."""

from __future__ import annotations

import torch
from torch import Tensor


class SizeWalk:
    r"""Walks on a graph whose nodes are the sizes ``low..high``, many at once.

    Sizes i and j are connected where :math:`1 \le |i - j| \le r`, and a step from i leads to each j that is connected
    with a probability proportional to :math:`1 / |i - j|` (CIESS, arXiv 2304.03501).

    Args:
        low: Smallest size.
        high: Largest size.
        reach: The largest difference r.

    Attributes:
        offsets: ``(2r,)`` int64, differences of a step.
        probabilities: ``(high - low + 1, 2r)`` float32, of each difference at each size.

    Raises:
        ValueError: If there are fewer than two sizes.
    """

    def __init__(self, low: int, high: int, reach: int) -> None:
        if high <= low:
            raise ValueError(f"a walk needs at least two sizes, got {low}..{high}")
        self.low, self.high = low, high
        self.offsets = torch.cat([torch.arange(-reach, 0), torch.arange(1, reach + 1)])
        reached = torch.arange(low, high + 1).unsqueeze(1) + self.offsets
        weights = self.offsets.abs().float().reciprocal() * ((reached >= low) & (reached <= high))
        self.probabilities = weights / weights.sum(1, keepdim=True)

    def __call__(self, start: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        """Return the sizes that walks pass, beginning with where they start.

        Args:
            start: ``(n,)`` int64 sizes.
            num_steps: Steps of each.
            generator: What draws the steps.

        Returns:
            ``(n, num_steps + 1)`` int64.
        """
        path = [start]
        for _ in range(num_steps):
            chosen = torch.multinomial(self.probabilities[path[-1] - self.low], 1, generator=generator)
            path.append(path[-1] + self.offsets[chosen.squeeze(1)])
        return torch.stack(path, 1)
