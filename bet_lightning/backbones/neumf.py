"""NeuMF, with a scorer that ranks all items in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from bet_lightning.backbones.abilities import Refit
from bet_lightning.backbones.base import Backbone
from bet_lightning.backbones.basis import principal_axes, rotate
from bet_lightning.backbones.dot_products import squared_norms
from bet_lightning.backbones.graph import Edges
from bet_lightning.backbones.initialization import fill_linear, fill_normal
from bet_lightning.backbones.recipe import Recipe
from bet_lightning.backbones.relu_sums import add_relu_sums, as_signed
from bet_lightning.schedule import LRSchedule

# Largest temporary of a deep tower. The CPU is fastest when it stays in cache, a GPU when launches are few.
CPU_BLOCK_BYTES = 1 << 20
GPU_BLOCK_BYTES = 64 << 20


class NeuMFFactors(NamedTuple):
    """What scoring needs: both branches up to where a user first meets an item.

    Attributes:
        gmf_users: ``(num_users, max_size)`` float32, times the output weights.
        gmf_items: ``(num_items, max_size)`` float32.
        mlp_users: ``(num_users, hidden[0])`` float32, the user's half of the first layer, with its bias.
        mlp_items: ``(num_items, hidden[0])`` float32, the item's half of the first layer. Where it is the only one,
            both are scaled and ordered by the output weights: see ``relu_sums.as_signed``.
        num_positive: Hidden units that add to scores where there is only one layer; the others subtract.
    """

    gmf_users: Tensor
    gmf_items: Tensor
    mlp_users: Tensor
    mlp_items: Tensor
    num_positive: int


class NeuMF(Backbone):
    r"""Neural matrix factorisation (He et al. 2017, arXiv 1708.05031, Eq. 12) with BET's single hidden layer.

    .. math::
        \hat{y}_{ui} = h^\top \big[\, p_u \odot q_i \,;\; \phi([\, p'_u \,;\, q'_i \,]) \,\big] + c

    where :math:`\phi` is a tower of linear layers and ReLU. Table 0 holds the GMF rows :math:`p, q`,
    table 1 the MLP rows :math:`p', q'`. The first layer is computed as :math:`W_u p'_u + W_i q'_i + b`, so each
    user and each item passes it once, however many pairs are scored.

    Args:
        edges: Unique training interactions; only the numbers of users and items are used.
        max_size: Columns of each of the two full tables (default: 128).
        hidden: Widths of the tower's layers (default: one layer of ``max_size``).
        init_std: Standard deviation of the initial tables (default: 0.01).

    Attributes:
        block_bytes: Largest temporary of :meth:`score`; None chooses by device.

    Raises:
        ValueError: If ``hidden`` is empty or holds a width below 1.
    """

    rebuilds_rows = False
    looks_rows_up = True
    recipe: ClassVar[Recipe] = Recipe(
        softmax=False,
        l2=0.01,
        schedule=LRSchedule(lr=0.005, decay=0.95),
        warm_schedule=LRSchedule(lr=0.003, decay=0.75, min_lr=0.0005),
    )

    def __init__(
        self, edges: Edges, max_size: int = 128, hidden: Sequence[int] | None = None, init_std: float | None = None
    ) -> None:
        super().__init__(edges, max_size, num_tables=2)
        widths = (max_size,) if hidden is None else tuple(hidden)
        if not widths or min(widths) < 1:
            raise ValueError(f"hidden must be widths of at least 1, got {list(widths)}")
        self.init_std = 0.01 if init_std is None else init_std
        self.block_bytes: int | None = None
        self.widest = max(widths)
        self.tower = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip((2 * max_size, *widths), widths, strict=False)
        )
        self.output = nn.Linear(max_size + widths[-1], 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the tables from N(0, init_std²), the layers' weights by Xavier's rule; biases are zero."""
        self.reset_tables(lambda values: fill_normal(values, self.init_std, generator))
        for layer in (*self.tower, self.output):
            fill_linear(cast(nn.Linear, layer), generator)

    def forward(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score a batch of triplets: see :meth:`Backbone.forward`."""
        size = users.numel()
        rows = torch.cat([users, self.item_rows(pos_items), self.item_rows(neg_items)])
        gmf, mlp = self.table(0)(rows), self.table(1)(rows)
        user_half, item_half = self._first_layer(mlp[:size], mlp[size:])
        gmf_weight, mlp_weight = self._output_weights()
        hidden = self._rest_of_tower(torch.relu(user_half.repeat(2, 1) + item_half))
        scores = (gmf[:size] * gmf_weight).repeat(2, 1).mul(gmf[size:]).sum(-1) + hidden @ mlp_weight
        pos_scores, neg_scores = (scores + self.output.bias).chunk(2)
        penalty = (squared_norms(gmf) + squared_norms(mlp)).sum() / (2 * size)
        return pos_scores, neg_scores, penalty

    @torch.no_grad()
    def encode(self) -> NeuMFFactors:
        """Return both branches of all users and items, up to where a user first meets an item."""
        gmf, mlp = self.table(0)(), self.table(1)()
        mlp_users, mlp_items = self._first_layer(mlp[: self.num_users], mlp[self.num_users :])
        gmf_weight, mlp_weight = self._output_weights()
        if len(self.tower) == 1:
            mlp_users, mlp_items = as_signed(mlp_users, mlp_items, mlp_weight)
        # A copy: what is encoded must not follow the weights, and an unmasked table is the weight itself.
        gmf_items = gmf[self.num_users :].clone()
        num_positive = int((mlp_weight > 0).sum())  # here, as a device is waited for
        return NeuMFFactors(gmf[: self.num_users] * gmf_weight, gmf_items, mlp_users, mlp_items, num_positive)

    @torch.no_grad()
    def score(self, encoded: NeuMFFactors, users: Tensor) -> Tensor:
        """Score all items for a block of users: see :meth:`Backbone.score`.

        The GMF branch is one matrix product. With one hidden layer the MLP branch holds no activation; a deeper tower
        runs over blocks of users and items whose widest activation takes at most ``block_bytes``, whatever the number
        of users asked for.
        """
        scores = torch.addmm(self.output.bias, encoded.gmf_users[users], encoded.gmf_items.T)
        mlp_users, mlp_items = encoded.mlp_users[users], encoded.mlp_items
        if len(self.tower) == 1:
            return add_relu_sums(scores, mlp_users, mlp_items, encoded.num_positive)
        _, mlp_weight = self._output_weights()
        user_block, item_block = self._block_shape(scores)
        for u in range(0, users.numel(), user_block):
            user_half = mlp_users[u : u + user_block].unsqueeze(1)
            for i in range(0, self.num_items, item_block):
                hidden = self._rest_of_tower((user_half + mlp_items[i : i + item_block]).relu_())
                scores[u : u + user_block, i : i + item_block] += hidden @ mlp_weight
        return scores

    @torch.no_grad()
    def to_principal_basis(self) -> None:
        """Sort the GMF columns by what they add to scores; rotate users' and items' MLP rows to their principal axes.

        The first layer takes the rotations back, so each side has its own.
        """
        self.check_full()
        gmf, mlp = self.masked_table(0).weight, self.masked_table(1).weight
        output, first = self.output.weight, cast(nn.Linear, self.tower[0]).weight
        order = (self.frequency @ self.energy()[:, ::2]).argsort(descending=True, stable=True)
        gmf.copy_(gmf[:, order])
        output[:, : self.max_size] = output[:, : self.max_size][:, order]
        for side, half, frequency in zip(
            self._sides(mlp), first.chunk(2, dim=1), self._sides(self.frequency), strict=True
        ):
            axes = principal_axes(side, frequency)
            side.copy_(rotate(side, axes))
            half.copy_(rotate(half, axes))

    @torch.no_grad()
    def energy(self) -> Tensor:
        """Return the shares of what is added to a score, in mean squares; tables take turns."""
        first, (_, mlp_weight) = cast(nn.Linear, self.tower[0]).weight, self._output_weights()
        if len(self.tower) == 1:
            first = first * mlp_weight.unsqueeze(1)
        factors = first.square().sum(0).chunk(2)
        sides = zip(self._sides(self.masked_table(1).weight), factors, strict=True)
        mlp = torch.cat([side.square() * factor for side, factor in sides])
        energy = torch.stack([self._gmf_energy(), mlp], dim=2).flatten(1)
        return energy / energy.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)

    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what each parameter is worth, its energy: see :meth:`KnowsEnergy.gains`."""
        return self.energy()

    def _gmf_energy(self) -> Tensor:
        """``(num_rows, max_size)`` squares of the GMF rows, times the mean square that they meet on the other side."""
        users, items = self._sides(self.masked_table(0).weight.square())
        weight = self._output_weights()[0].square()
        return torch.cat([users * items.mean(0), items * users.mean(0)]) * weight

    def _sides(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the users' and of the items' rows."""
        return table[: self.num_users], table[self.num_users :]

    def _block_shape(self, scores: Tensor) -> tuple[int, int]:
        """Split the pairs that fit into one block into users (up to 32) and items."""
        default = CPU_BLOCK_BYTES if scores.device.type == "cpu" else GPU_BLOCK_BYTES
        pairs = max(1, (self.block_bytes or default) // (self.widest * scores.element_size()))
        num_users = min(32, pairs)
        return num_users, pairs // num_users

    def _first_layer(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        first = cast(nn.Linear, self.tower[0])
        user_weight, item_weight = first.weight.chunk(2, dim=1)
        return torch.addmm(first.bias, users, user_weight.T), items @ item_weight.T

    def _rest_of_tower(self, hidden: Tensor) -> Tensor:
        for layer in list(self.tower)[1:]:
            hidden = torch.relu(layer(hidden))
        return hidden

    def _output_weights(self) -> tuple[Tensor, Tensor]:
        weight = self.output.weight[0]
        return weight[: self.max_size], weight[self.max_size :]
