from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import Edges

NUM_USERS, NUM_ITEMS = 7, 9


@pytest.fixture
def edges() -> Edges:
    """A third of all pairs in random order; the last user and the last item have no edge."""
    generator = torch.Generator().manual_seed(1)
    pairs = (torch.rand(NUM_USERS - 1, NUM_ITEMS - 1, generator=generator) < 0.4).nonzero()
    users, items = pairs[torch.randperm(len(pairs), generator=generator)].T
    return Edges(users, items, NUM_USERS, NUM_ITEMS)


@pytest.fixture
def norm_adj(edges: Edges) -> Tensor:
    """Dense D^-1/2 A D^-1/2, straight from the definition."""
    adjacency = torch.zeros(NUM_USERS + NUM_ITEMS, NUM_USERS + NUM_ITEMS, dtype=torch.float64)
    adjacency[edges.users, edges.items + NUM_USERS] = 1
    adjacency = adjacency + adjacency.T
    scale = torch.where(adjacency.sum(1) > 0, adjacency.sum(1) ** -0.5, 0.0)
    return (scale[:, None] * adjacency * scale).float()


@pytest.fixture
def triplets() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randint(NUM_USERS, (12,), generator=generator),
        torch.randint(NUM_ITEMS, (12,), generator=generator),
        torch.randint(NUM_ITEMS, (12,), generator=generator),
    )
