"""SimGCL as a backbone in one file: LightGCN with a contrastive loss of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from bet_lightning.backbones import Edges, LightGCN


class SimGCL(LightGCN):
    r"""LightGCN and a contrastive loss between two noisy propagations (Yu et al. 2022, SIGIR, arXiv 2112.08679).

    In each view every layer is shifted by :math:`\epsilon` along a random direction of the same signs; a row's two
    views are to be nearer to each other than to the views of the batch's other rows.

    Args:
        edges: Unique training interactions, the edges of the graph.
        max_size: Columns of the full table.
        num_layers: Graph propagations.
        init_std: Standard deviation of the initial table.
        weight: Weight of the contrastive loss.
        epsilon: Length of the noise.
        temperature: Of the contrastive softmax.
    """

    def __init__(
        self,
        edges: Edges,
        max_size: int = 128,
        num_layers: int = 3,
        init_std: float = 0.1,
        weight: float = 0.5,
        epsilon: float = 0.1,
        temperature: float = 0.2,
    ) -> None:
        super().__init__(edges, max_size, num_layers, init_std)
        self.weight, self.epsilon, self.temperature = weight, epsilon, temperature

    def auxiliary_loss(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> Tensor:
        """Return the weighted InfoNCE loss of the batch's users and of its items."""
        views = [self.noisy_view() for _ in range(2)]
        sides = users.unique(), self.item_rows(pos_items.unique())
        return self.weight * sum((self._contrast(*(view[rows] for view in views)) for rows in sides), torch.zeros(()))

    def noisy_view(self) -> Tensor:
        """Return the mean of the propagated layers, each with noise, ``(num_rows, width)``."""
        layer, layers = self.ego(), []
        for _ in range(self.num_layers):
            layer = self.graph.matmul(layer)
            noise = normalize(torch.rand_like(layer)) * self.epsilon
            layer = layer + layer.sign() * noise
            layers.append(layer)
        return torch.stack(layers).mean(0)

    def _contrast(self, first: Tensor, second: Tensor) -> Tensor:
        similarities = normalize(first) @ normalize(second).T / self.temperature
        return cross_entropy(similarities, torch.arange(len(first), device=first.device))
