"""NGCF."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bet_lightning.backbones.abilities import Refit
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.backbones.dot_products import squared_norms
from bet_lightning.backbones.dropout import draw_dropped, keep_share
from bet_lightning.backbones.graph import Edges, NormalizedGraph
from bet_lightning.backbones.initialization import fill_linear, fill_xavier
from bet_lightning.backbones.ngcf_layer import ngcf_layer
from bet_lightning.backbones.recipe import Recipe
from bet_lightning.schedule import LRSchedule

NUM_SIGNS = 8  # gradients that gains are estimated from


class NGCF(DotProductBackbone):
    r"""Neural graph collaborative filtering (Wang et al. 2019, arXiv 1905.08108, Eq. 7).

    .. math::
        E^{(l+1)} = \mathrm{LeakyReLU}\big((\hat{A} + I) E^{(l)} W_1 + b_1
        + (\hat{A} E^{(l)} \odot E^{(l)}) W_2 + b_2\big)

    The final vector of a row is its table row next to the L2-normalised outputs of all layers. Message
    dropout acts on the layer outputs in training mode only (BET's code leaves it on in evaluation).

    Args:
        edges: Unique training interactions, the edges of the graph.
        max_size: Columns of the full table and width of the layers (default: 128).
        num_layers: Number of layers, at least 1 (default: 3).
        message_dropout: Probability, in [0, 1), of dropping an entry of a layer's output (default: 0.1).
        negative_slope: Slope of LeakyReLU below zero (default: 0.2).

    Raises:
        ValueError: If ``num_layers``, ``message_dropout`` or ``negative_slope`` is out of range.
    """

    rebuilds_rows = True
    columns_are_apart = False
    scoring_settings: ClassVar[tuple[str, ...]] = ("num_layers", "negative_slope")
    # its layers relearn what a cut takes away: untrained, a cut table tells little
    recipe: ClassVar[Recipe] = Recipe(schedule=LRSchedule(lr=0.01, decay=0.92), probe_epochs=1)

    def __init__(
        self,
        edges: Edges,
        max_size: int = 128,
        num_layers: int = 3,
        message_dropout: float = 0.1,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__(edges, max_size)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        if not 0 <= message_dropout < 1:
            raise ValueError(f"message_dropout must be in [0, 1), got {message_dropout}")
        if negative_slope < 0:
            raise ValueError(f"negative_slope must not be negative, got {negative_slope}")
        self.num_layers = num_layers
        self.message_dropout = message_dropout
        self.negative_slope = negative_slope
        self.graph = NormalizedGraph(edges)
        self.sum_layers = nn.ModuleList(nn.Linear(max_size, max_size) for _ in range(num_layers))
        self.product_layers = nn.ModuleList(nn.Linear(max_size, max_size) for _ in range(num_layers))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table and the layers' weights by Xavier's rule; biases are zero."""
        self.reset_tables(lambda values: fill_xavier(values, generator))
        for layer in (*self.sum_layers, *self.product_layers):
            fill_linear(cast(nn.Linear, layer), generator)

    def propagate(self, ego: Tensor) -> Tensor:
        """Return the table next to all normalised layer outputs, ``(num_layers + 1) * max_size`` columns."""
        hidden, outputs = ego, [ego]
        for layer in range(self.num_layers):
            hidden = self._layer(layer, self.graph.matmul(hidden), hidden)
            outputs.append(functional.normalize(hidden))
        return torch.cat(outputs, dim=1)

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return final vectors and squared norms of ``rows``; the last layer is computed for these rows alone."""
        block = self.graph.cut(rows)
        if block is None:
            return super()._gather(rows)
        hidden = self.ego()
        outputs = []
        for layer in range(self.num_layers - 1):
            outputs.append(hidden.index_select(0, block.rows))
            hidden = self._layer(layer, self.graph.matmul(hidden), hidden)
        neighbours, hidden = self.graph.matmul_rows(hidden, block)
        outputs += [hidden, self._layer(self.num_layers - 1, neighbours, hidden)]
        final = torch.cat([outputs[0], *map(functional.normalize, outputs[1:])], dim=1)
        norms = squared_norms(outputs[0])
        return final.index_select(0, block.positions), norms.index_select(0, block.positions)

    @torch.no_grad()
    def to_principal_basis(self) -> None:
        """Sort the table's columns by their energy: the element-wise product allows no other change of basis."""
        self.check_full()
        order = (self.frequency @ self.energy()).argsort(descending=True, stable=True)
        for layer in (self.masked_table(), self.sum_layers[0], self.product_layers[0]):
            weight = cast(Tensor, layer.weight)
            weight.copy_(weight[:, order])

    @torch.no_grad()
    def energy(self) -> Tensor:
        """Return the squares of the table's rows, relative to their sum: see :meth:`KnowsEnergy.energy`."""
        return functional.normalize(self.ego()).square()

    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        r"""Return what final vectors lose without each parameter, to first order: see :meth:`KnowsEnergy.gains`.

        .. math:: g_{nj} = E_{nj}^2 \sum_m f_m \|\partial z_m / \partial E_{nj}\|^2 / \|z_m\|^2

        f being the rows' frequencies. The sum is the mean square of gradients of final vectors that are added up with
        random signs (Hutchinson 1989), estimated from a few of them.
        """
        was_training, generator = self.training, torch.Generator().manual_seed(0)
        self.eval()  # without dropout
        with torch.enable_grad():
            ego = self.ego().detach().requires_grad_()
            final = self.propagate(ego)
            factors = self.frequency.sqrt() / final.detach().norm(dim=1).clamp(min=torch.finfo(final.dtype).tiny)
            total = torch.zeros_like(ego)
            for _ in range(NUM_SIGNS):
                signs = 1 - 2 * torch.randint(2, final.shape, generator=generator).to(final)
                total += torch.autograd.grad(final, ego, signs * factors.unsqueeze(1), retain_graph=True)[0].square()
        self.train(was_training)
        return ego.detach().square() * total / NUM_SIGNS

    def _layer(self, index: int, neighbours: Tensor, hidden: Tensor) -> Tensor:
        """Output of a layer from its input and the input's product with the graph, ``(r, max_size)`` each."""
        sum_layer, product_layer = cast(nn.Linear, self.sum_layers[index]), cast(nn.Linear, self.product_layers[index])
        weights = sum_layer.weight.T, product_layer.weight.T, sum_layer.bias + product_layer.bias
        dropped = None
        if self.training and self.message_dropout > 0:
            dropped = draw_dropped((len(hidden), self.max_size), self.message_dropout, hidden.device)
            # LeakyReLU passes positive factors on: the weights can carry the one that compensates for what is dropped.
            scale = 1 / keep_share(self.message_dropout)
            weights = weights[0] * scale, weights[1] * scale, weights[2] * scale
        return ngcf_layer(neighbours, hidden, *weights, self.negative_slope, dropped)
