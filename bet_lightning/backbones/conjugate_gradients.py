"""Preconditioned conjugate gradients for many right-hand sides at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], target: Tensor, preconditioner: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Approximate the X with ``apply(X) == target``, from zero (Hestenes and Stiefel 1952).

    Args:
        apply: A symmetric positive semidefinite map of every column, each apart from the others; returns a new tensor.
        target: ``(n, d)`` right-hand sides, columns within the map's range.
        preconditioner: ``(n, d)`` about the inverse of the map's diagonal; X stays zero where it is zero, and the
            equations of these entries are left out.
        steps: Steps, one application each.

    Returns:
        X ``(n, d)``, and ``target - apply(X)``, of the entries left out too.
    """
    solution, residual = torch.zeros_like(target), target.clone()
    direction = residual * preconditioner
    slopes = (residual * direction).sum(0)
    tiny = torch.finfo(target.dtype).tiny  # a column that is solved has zero over zero: it stays
    for _ in range(steps):
        image = apply(direction)
        rate = slopes / (direction * image).sum(0).clamp(min=tiny)
        solution.addcmul_(direction, rate)
        residual.addcmul_(image, rate, value=-1)
        scaled = residual * preconditioner
        before, slopes = slopes, (residual * scaled).sum(0)
        direction.mul_(slopes / before.clamp(min=tiny)).add_(scaled)
    return solution, residual
