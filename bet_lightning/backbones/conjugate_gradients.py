"""Preconditioned conjugate gradients for many right-hand sides at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], target: Tensor, preconditioner: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Approximate the X that solves ``apply(X) == target``, from zero on (Hestenes and Stiefel 1952).

    Args:
        apply: A symmetric positive semidefinite map, which acts on each column separately and returns a new tensor.
        target: ``(n, d)``, the right-hand sides, whose columns lie in the map's range.
        preconditioner: ``(n, d)``, an approximate inverse of the map's diagonal. Where it is zero, X stays zero and the
            equation of that entry is left out.
        steps: Number of steps, of one application each.

    Returns:
        X ``(n, d)``, and ``target - apply(X)`` ``(n, d)``, which includes the entries whose equations were left out.
    """
    solution, residual = torch.zeros_like(target), target.clone()
    direction = residual * preconditioner
    slopes = (residual * direction).sum(0)
    tiny = torch.finfo(target.dtype).tiny  # a column that is solved divides zero by this, and so stays as it is
    for _ in range(steps):
        image = apply(direction)
        rate = slopes / (direction * image).sum(0).clamp(min=tiny)
        solution.addcmul_(direction, rate)
        residual.addcmul_(image, rate, value=-1)
        scaled = residual * preconditioner
        before, slopes = slopes, (residual * scaled).sum(0)
        direction.mul_(slopes / before.clamp(min=tiny)).add_(scaled)
    return solution, residual
