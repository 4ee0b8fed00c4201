"""What fitness predictors share: DeepSets over the sets "all rows of size d" (BET, Sec. 3.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn

_CHUNK = 256  # actions scored at once without gradients: activations stay in cache


def mlp(*widths: int, last_activation: bool = True) -> nn.Sequential:
    """Linear layers with LeakyReLU between, and after the last unless said otherwise."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU()]
    return nn.Sequential(*layers if last_activation else layers[:-1])


class SetPredictor(nn.Module, ABC):
    r"""Predicts the fitness of table-level actions.

    With :math:`S_d` the rows of size d, users and items together, and :math:`q_n` what encodes a row:

    .. math::
        s_d = \mu([\mathrm{mean}_{n \in S_d} q_n ; d / d_{max}]), \quad
        h_a = [\mathrm{mean}_{d: S_d \ne \emptyset} s_d ; c_a ; p_a], \quad \hat r_a = \pi(h_a)

    c being the mean size of a row over the largest, which means over sets do not show, and p how finely values are
    held. Both are the same for all actions of a search for one budget in parameters.

    How an action's sets are given is up to a subclass: one tensor for the users and one for the items, an action a row.

    Args:
        num_features: Numbers that describe a row.
        max_size: Largest size of a row.
        element_width: Width of :math:`\rho`.
        set_width: Width of :math:`\mu` and :math:`\pi`.
    """

    relative_sizes: Tensor

    def __init__(self, num_features: int, max_size: int, element_width: int = 16, set_width: int = 64) -> None:
        super().__init__()
        self.max_size = max_size
        self.rho_users = mlp(num_features, element_width, element_width)
        self.rho_items = mlp(num_features, element_width, element_width)
        self.mu = mlp(element_width + 1, set_width, set_width)
        self.pi = mlp(set_width + 2, set_width, 1, last_activation=False)
        self.register_buffer("relative_sizes", torch.arange(1, max_size + 1) / max_size, persistent=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights again, from a generator of the caller's."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="leaky_relu", generator=generator)
                nn.init.zeros_(module.bias)

    @abstractmethod
    def encode(self, users: Tensor, items: Tensor, precision: Tensor) -> Tensor:
        """Action vectors h_a (b, set_width + 2) from what is seen of actions: see :class:`Sets`."""

    def forward(self, users: Tensor, items: Tensor, precision: Tensor) -> Tensor:
        """Predicted fitness (b,) from what is seen of actions."""
        return self.predict_from(self.encode(users, items, precision))

    def predict_from(self, encoded: Tensor) -> Tensor:
        """Predicted fitness (b,) from action vectors (b, set_width + 2)."""
        fitness: Tensor = self.pi(encoded).squeeze(1)
        return fitness

    @torch.no_grad()
    def encode_all(self, users: Tensor, items: Tensor, precision: Tensor) -> Tensor:
        """``encode`` for any number of actions, in blocks of bounded memory and without gradients."""
        blocks = zip(*(seen.split(_CHUNK) for seen in (users, items, precision)), strict=True)
        return torch.cat([self.encode(*block) for block in blocks])

    def _pool(self, sums: Tensor, counts: Tensor, precision: Tensor) -> Tensor:
        """Sums (sets, width) of sets with rows, counts (b, max_size) and precisions (b,), to action vectors."""
        action, size = counts.nonzero(as_tuple=True)
        means = (sums / counts[action, size].unsqueeze(1)).float()
        vectors = self.mu(torch.cat([means, self.relative_sizes[size].unsqueeze(1)], dim=1))
        pooled = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, action, vectors)
        means_of_sets = pooled / torch.bincount(action, minlength=len(counts)).clamp(min=1).unsqueeze(1)
        mean_size = (counts * self.relative_sizes).sum(1) / counts.sum(1).clamp(min=1)
        numbers = torch.stack([mean_size, precision], dim=1)
        return torch.cat([means_of_sets, numbers.to(pooled.dtype)], dim=1)
