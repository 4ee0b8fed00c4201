"""Conjugate gradients for many right-hand sides at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(apply: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """Approximate the X with ``apply(X) == target``, from zero (Hestenes and Stiefel 1952).

    Args:
        apply: A symmetric positive semidefinite map of every column, each apart from the others; returns a new tensor.
        target: ``(n, d)`` right-hand sides, columns within the map's range.
        steps: Steps, one application each.

    Returns:
        ``(n, d)``.
    """
    solution, residual = torch.zeros_like(target), target.clone()
    direction, norms = residual.clone(), residual.square().sum(0)
    tiny = torch.finfo(target.dtype).tiny  # a column that is solved has zero over zero: it stays
    for _ in range(steps):
        image = apply(direction)
        rate = norms / (direction * image).sum(0).clamp(min=tiny)
        solution.addcmul_(direction, rate)
        residual.addcmul_(image, rate, value=-1)
        before, norms = norms, residual.square().sum(0)
        direction.mul_(norms / before.clamp(min=tiny)).add_(residual)
    return solution
