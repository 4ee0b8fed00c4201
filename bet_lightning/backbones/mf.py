"""Matrix factorisation."""

from __future__ import annotations

import torch
from torch import Tensor

from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.backbones.dot_products import squared_norms, triplet_scores_and_norms
from bet_lightning.backbones.graph import Edges
from bet_lightning.backbones.initialization import fill_normal


class MF(DotProductBackbone):
    r"""Matrix factorisation (Rendle et al. 2009, arXiv 1205.2618): :math:`\hat{y}_{ui} = e_u^\top e_i`.

    Args:
        edges: Unique training interactions; only the numbers of users and items are used.
        max_size: Columns of the full table (default: 128).
        init_std: Standard deviation of the initial table (default: 0.1).
    """

    rebuilds_rows = False
    looks_rows_up = True

    def __init__(self, edges: Edges, max_size: int = 128, init_std: float | None = None) -> None:
        super().__init__(edges, max_size)
        self.init_std = 0.1 if init_std is None else init_std
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, init_std²)."""
        self.reset_tables(lambda values: fill_normal(values, self.init_std, generator))

    def ego(self) -> Tensor:
        """Return the masked table up to the largest size: columns beyond add nothing to a dot product."""
        return self.table().narrow()

    def propagate(self, ego: Tensor) -> Tensor:
        """Return a copy of the table: there is nothing to propagate, and final vectors must not follow the weights."""
        return ego.clone()

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masked table rows and their squared norms: see :meth:`DotProductBackbone.gather`."""
        values = self.table().narrow(rows)
        return values, squared_norms(values)

    def forward(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score a batch of triplets: see :meth:`Backbone.forward`. Only the batch's rows are masked."""
        if self.table().num_ranks > 1:
            return super().forward(users, pos_items, neg_items)
        rows = torch.cat([users, self.item_rows(pos_items), self.item_rows(neg_items)])
        pos_scores, neg_scores, norms = triplet_scores_and_norms(self.table().narrow(rows))
        return pos_scores, neg_scores, norms.sum() / (2 * users.numel())
