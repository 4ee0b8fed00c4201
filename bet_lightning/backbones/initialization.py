"""Initial values that depend on the generator only, not on the device that holds the parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def fill_normal(parameter: Tensor, std: float, generator: torch.Generator | None) -> None:
    """Fill ``parameter`` with values from N(0, std²), drawn on the generator's device (the CPU if None).

    Raises:
        ValueError: If the standard deviation is negative.
    """
    if not std >= 0:
        raise ValueError(f"model.backbone.init_std must not be negative, got {std}")
    values = _empty_like(parameter, generator)
    parameter.copy_(nn.init.normal_(values, std=std, generator=generator))


@torch.no_grad()
def fill_xavier(parameter: Tensor, generator: torch.Generator | None) -> None:
    """Fill the matrix ``parameter`` with Xavier uniform values (Glorot and Bengio 2010).

    They too are drawn on the generator's device (the CPU if None).
    """
    values = _empty_like(parameter, generator)
    parameter.copy_(nn.init.xavier_uniform_(values, generator=generator))


def fill_linear(layer: nn.Linear, generator: torch.Generator | None) -> None:
    """Fill a linear layer: Xavier weight, zero bias."""
    fill_xavier(layer.weight, generator)
    nn.init.zeros_(layer.bias)


def _empty_like(parameter: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.empty(parameter.shape, device="cpu" if generator is None else generator.device)
