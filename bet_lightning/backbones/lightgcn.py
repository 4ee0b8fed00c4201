"""LightGCN."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bet_lightning.backbones.abilities import Refit
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.backbones.dot_products import squared_norms
from bet_lightning.backbones.graph import Edges, NormalizedGraph
from bet_lightning.backbones.initialization import fill_normal
from bet_lightning.backbones.pursuit import TablePursuit
from bet_lightning.backbones.rounding import round_together
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.precision import step_of
from bet_lightning.tables.quantized import QuantizedEmbedding


class LightGCN(DotProductBackbone):
    r"""LightGCN (He et al. 2020, arXiv 2002.02126): the mean of linear propagations of the table.

    .. math::
        Z = \frac{1}{L+1} \sum_{l=0}^{L} \hat{A}^l E, \qquad \hat{y}_{ui} = z_u^\top z_i

    Final vectors :math:`Z` make the scores, table rows :math:`E` the regulariser.

    Args:
        edges: Unique training interactions, the edges of the graph.
        max_size: Columns of the full table (default: 128).
        num_layers: :math:`L`, at least 0 (default: 3).
        init_std: Standard deviation of the initial table (default: 0.1).

    Raises:
        ValueError: If ``num_layers`` is negative.
    """

    rebuilds_rows: ClassVar[bool] = True
    scoring_settings: ClassVar[tuple[str, ...]] = ("num_layers",)
    refit_powers: ClassVar[tuple[float, ...]] = (1.0, 0.5, 0.0, -0.5, -1.0)

    def __init__(self, edges: Edges, max_size: int = 128, num_layers: int = 3, init_std: float = 0.1) -> None:
        super().__init__(edges, max_size)
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, got {num_layers}")
        self.num_layers = num_layers
        self.init_std = init_std
        self.graph = NormalizedGraph(edges)
        self._last_pursuit: TablePursuit | None = None
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, init_std²)."""
        self.reset_tables(lambda values: fill_normal(values, self.init_std, generator))

    def ego(self) -> Tensor:
        """Return the masked table up to the largest size: columns propagate independently."""
        return self.table().narrow()

    def propagate(self, ego: Tensor) -> Tensor:
        """Return the mean of the layers 0 to ``num_layers``."""
        return self.graph.propagate(ego, self.num_layers)

    @torch.no_grad()
    def cut(self, sizes: Tensor, refit: Refit = Refit(), dtype: Dtype = "fp32") -> None:
        r"""Set the sizes and fit what is kept to the final vectors of the full table: see :meth:`Backbone.cut`.

        A row of few parameters is rebuilt by neighbours that have more, and errors of rounding are made up for by
        neighbours that are rounded the other way.
        """
        pursuit = self._pursuit(refit.power) if refit.steps else None
        super().cut(sizes)
        if pursuit:
            self.masked_table().weight.copy_(pursuit.fit(self.masked_table().sizes, refit.steps))
        self.quantize(dtype)
        table = self.table()
        if pursuit and isinstance(table, QuantizedEmbedding):
            steps = step_of(table.steps).unsqueeze(1)
            table.weight.copy_(round_together(pursuit, table(), pursuit.kept(table.sizes), steps, LEVELS[dtype]))

    @torch.no_grad()
    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what parameters are worth where cut tables are fitted again: see :meth:`KnowsEnergy.gains`."""
        if not refit.steps:
            return super().gains(cap, min_size, refit)
        return self._pursuit(refit.power).gains(cap, min_size)

    def pack(self) -> None:
        """Hold only what is inside the sizes: see :meth:`Backbone.pack`."""
        super().pack()
        self._last_pursuit = None

    def _pursuit(self, power: float) -> TablePursuit:
        """Return the problem of the full table; cuts of the same table share its weights and curvature.

        Args:
            power: Power of popularity by which a row's error counts among its side's.
        """
        self.check_full()
        full = self.masked_table().weight.detach()
        # a tensor, not a number: torch rounds the power of a float32 table by a Python number in another way
        powers = self.frequency.clamp(min=1) ** torch.tensor(power, device=full.device)
        users, items = powers[: self.num_users], powers[self.num_users :]
        importance = torch.cat([users / users.sum(), items / items.sum()])
        last = self._last_pursuit
        if last is None or not last.is_of(full, importance):
            self._last_pursuit = last = TablePursuit(full.clone(), self.propagate, importance)
        return last

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return final vectors and squared norms of ``rows``; the last layer is computed for these rows alone."""
        block = self.graph.cut(rows) if self.num_layers else None
        if block is None:
            return super().gather(rows)
        final, ego = self.graph.propagate_rows(self.ego(), self.num_layers, block)
        return final.index_select(0, block.positions), squared_norms(ego).index_select(0, block.positions)
