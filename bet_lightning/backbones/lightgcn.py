"""LightGCN."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from bet_lightning.backbones.abilities import KeptForm, Refit
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.backbones.dot_products import squared_norms
from bet_lightning.backbones.graph import Edges, NormalizedGraph
from bet_lightning.backbones.initialization import fill_normal
from bet_lightning.backbones.pursuit import TablePursuit
from bet_lightning.backbones.rounding import round_together
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.tables.quantized import QuantizedEmbedding

_OWN_WEIGHTS = tuple(0.5**power for power in range(7))


class LightGCN(DotProductBackbone):
    r"""LightGCN (He et al. 2020, arXiv 2002.02126): the mean of linear propagations of the table.

    .. math::
        Z = \frac{1}{L+1} \Bigl(a E + \sum_{l=1}^{L} \hat{A}^l E\Bigr), \qquad \hat{y}_{ui} = z_u^\top z_i

    Final vectors :math:`Z` make the scores, table rows :math:`E` the regulariser. The weight a of a row's own
    parameters is 1 as in the paper, until a cut table is fitted to the full one's vectors: rows that were left empty
    have nothing of their own, and what is rounded is averaged in the other layers only, so that a smaller weight lets
    small tables rebuild much more (on Gowalla, a sixth of the parameters in three levels rank as well as 94 % of the
    full table before any training, with a = 1 as 83 %).

    Args:
        edges: Unique training interactions, the edges of the graph.
        max_size: Columns of the full table (default: 128).
        num_layers: :math:`L`, at least 0 (default: 3).
        init_std: Standard deviation of the initial table (default: 0.1).
        keeps: What a budget is spent on once the full table is trained: that ``table``, from which the graph makes
            final vectors, or these ``vectors`` themselves. They need no graph where they are served, which is smaller
            where the graph would take most of a deployment, but nothing rebuilds what is cut off. By default a budget
            that covers a deployment goes to whichever probes find better, and one that covers the table alone to it.

    Attributes:
        num_layers: Layers in use: none once the table holds final vectors.

    Raises:
        ValueError: If ``num_layers`` is negative or ``keeps`` unknown.
    """

    scoring_settings: ClassVar[tuple[str, ...]] = ("num_layers",)
    refit_powers: ClassVar[tuple[float, ...]] = (1.0, 0.5, 0.0, -0.5, -1.0)
    own_weight: Tensor
    layers: Tensor

    def __init__(
        self,
        edges: Edges,
        max_size: int = 128,
        num_layers: int = 3,
        init_std: float | None = None,
        keeps: KeptForm | None = None,
    ) -> None:
        super().__init__(edges, max_size)
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, got {num_layers}")
        if keeps not in ("table", "vectors", None):
            raise ValueError(f"keeps must be table or vectors, got {keeps!r}")
        self._depth = num_layers
        self._keeps = keeps
        self.init_std = 0.1 if init_std is None else init_std
        self.graph = NormalizedGraph(edges)
        self._last_pursuit: TablePursuit | None = None
        self.register_buffer("own_weight", torch.ones(()))
        self.register_buffer("layers", torch.tensor(num_layers, dtype=torch.int32))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table, from which the graph makes final vectors again, from N(0, init_std²)."""
        self._use_layers(self._depth)
        self.weigh_own(1.0)
        self.reset_tables(lambda values: fill_normal(values, self.init_std, generator))

    @property
    def kept_forms(self) -> Mapping[KeptForm, bool]:
        """What a budget may be spent on: see :attr:`HasKeptForm.kept_forms`."""
        forms: dict[KeptForm, bool] = {"table": self._depth > 0, "vectors": False}
        return {self._keeps: forms[self._keeps]} if self._keeps else forms

    def ego(self) -> Tensor:
        """Return the masked table up to the largest size: columns propagate independently."""
        return self.table().narrow()

    def propagate(self, ego: Tensor) -> Tensor:
        """Return the mean of the layers 0 to ``num_layers``, the first by its weight."""
        return self._propagate_by(self._own, ego)

    def weigh_own(self, weight: float) -> None:
        """Set the weight of rows' own parameters."""
        self.own_weight.fill_(weight)
        self._own = weight  # the same as a number, so that no step waits for a device

    @torch.no_grad()
    def to_kept_form(self, form: KeptForm) -> None:
        """Put final vectors in the place of the full table if they are what is kept: see :meth:`HasKeptForm`."""
        if form == "table" or not self.num_layers:
            return
        self.check_full()
        self.masked_table().weight.copy_(self.propagate(self.ego()))
        self._use_layers(0)
        self._last_pursuit = None

    def _use_layers(self, number: int) -> None:
        """Make final vectors of so many layers; without any, nothing rebuilds a row."""
        self.layers.fill_(number)
        self.num_layers, self.rebuilds_rows = number, number > 0

    def _propagate_by(self, own: float, ego: Tensor) -> Tensor:
        return self._reweigh(own, self.graph.propagate(ego, self.num_layers), ego)

    def _reweigh(self, own: float, mean: Tensor, ego: Tensor) -> Tensor:
        """Return a mean of layers with another weight of the first one, which is ``ego``."""
        return mean if own == 1 else torch.add(mean, ego, alpha=(own - 1) / (self.num_layers + 1))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # version 0.1 wrote neither
        state_dict.setdefault(f"{prefix}own_weight", torch.ones(()))
        state_dict.setdefault(f"{prefix}layers", self.layers)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._own = float(self.own_weight)
        self._use_layers(int(self.layers))

    @torch.no_grad()
    def cut(self, sizes: Tensor, refit: Refit = Refit(), dtype: Dtype = "fp32") -> None:
        r"""Set the sizes and fit what is kept to the final vectors of the full table: see :meth:`Backbone.cut`.

        A row of few parameters is rebuilt by neighbours that have more, and errors of rounding are made up for by
        neighbours that are rounded the other way. The weight of rows' own parameters becomes the one with which that
        goes best.
        """
        pursuit = self._pursuit(refit.power) if refit.steps and self.num_layers else None
        super().cut(sizes)
        if pursuit:
            pursuit = self._weigh_best(pursuit, refit.steps)
            self.masked_table().weight.copy_(pursuit.fit(self.masked_table().sizes, refit.steps))
        self.quantize(dtype)
        table = self.table()
        if pursuit and isinstance(table, QuantizedEmbedding):
            kept = pursuit.kept(table.sizes)
            table.weight.copy_(round_together(pursuit, table(), kept, table.distances(), LEVELS[dtype]))

    @torch.no_grad()
    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what parameters are worth where cut tables are fitted again: see :meth:`KnowsEnergy.gains`."""
        if not refit.steps or not self.num_layers:
            return super().gains(cap, min_size, refit)
        return self._pursuit(refit.power).gains(cap, min_size)

    def _weigh_best(self, pursuit: TablePursuit, steps: int) -> TablePursuit:
        """Give rows' own parameters the weight with which the cut table can be fitted best, and return that problem."""
        best, least = pursuit, torch.inf
        for own in _OWN_WEIGHTS:
            following = pursuit.propagated_by(partial(self._propagate_by, own))
            error = following.error(self.masked_table().sizes, steps)
            if error >= least:
                break
            best, least = following, error
            self.weigh_own(own)
        return best

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
            self._last_pursuit = last = TablePursuit(full.clone(), partial(self._propagate_by, self._own), importance)
        return last

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return final vectors and squared norms of ``rows``; the last layer is computed for these rows alone."""
        block = self.graph.cut(rows) if self.num_layers else None
        if block is None:
            return super()._gather(rows)
        final, ego = self.graph.propagate_rows(self.ego(), self.num_layers, block)
        final = self._reweigh(self._own, final, ego)
        return final.index_select(0, block.positions), squared_norms(ego).index_select(0, block.positions)
