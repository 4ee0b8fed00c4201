"""Which candidate is probed next (BET, Sec. 3.4)."""

from typing import Literal, get_args

import torch
from torch import Tensor

Strategy = Literal["greedy", "random", "nearest"]
Selection = Literal["mixed", "greedy", "random", "nearest"]


def strategy_at(iteration: int, selection: Selection) -> Strategy:
    """Return the strategy of an iteration, counted from 0.

    ``mixed`` is the paper's schedule: three greedy iterations, a random one, a nearest one, and again.

    Raises:
        ValueError: If the selection is unknown.
    """
    if selection not in get_args(Selection):
        raise ValueError(f"selection must be one of {', '.join(get_args(Selection))}, got {selection!r}")
    if selection != "mixed":
        return selection
    cycle: tuple[Strategy, ...] = ("greedy", "greedy", "greedy", "random", "nearest")
    return cycle[iteration % len(cycle)]


def rank_candidates(
    strategy: Strategy,
    predicted: Tensor,
    encoded: Tensor,
    best_encoded: Tensor | None,
    generator: torch.Generator,
) -> list[int]:
    """Order the candidates by how much they are to be probed.

    Args:
        strategy: ``greedy``: the highest predicted fitness; ``random``: any; ``nearest``: the smallest Euclidean
            distance between action vectors to the best action measured so far.
        predicted: (m,) predicted fitness.
        encoded: (m, width) action vectors h_a.
        best_encoded: (width,) vector of the best action so far; without one, ``nearest`` is ``greedy``.
        generator: Source of randomness.

    Returns:
        Indices of all candidates, the one to probe first; where that was probed before, the next one takes its turn.
    """
    if strategy == "random":
        first = int(torch.randint(len(predicted), (), generator=generator))
        return [(first + step) % len(predicted) for step in range(len(predicted))]
    if strategy == "nearest" and best_encoded is not None:
        order = (encoded - best_encoded).norm(dim=1).argsort(stable=True)
    else:
        order = predicted.argsort(descending=True, stable=True)
    return [int(index) for index in order]
