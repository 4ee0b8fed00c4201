"""Normalised user-item graph: built once as CSR; forward and backward passes multiply with the same matrix."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bet_lightning.backbones.products import mean_propagation, mean_propagation_rows, product_rows, symmetric_product
from bet_lightning.backbones.row_block import RowBlock, cut_rows


class Edges(NamedTuple):
    """Unique training interactions; edge ``e`` joins ``users[e]`` and ``items[e]``.

    Attributes:
        users: ``(E,)`` int64 in ``0..num_users-1``.
        items: ``(E,)`` int64 in ``0..num_items-1``.
        num_users: Number of users, with or without edges.
        num_items: Number of items, with or without edges.
    """

    users: Tensor
    items: Tensor
    num_users: int
    num_items: int


class NormalizedGraph(nn.Module):
    r"""Symmetric normalisation :math:`\hat{A} = D^{-1/2} A D^{-1/2}` of the bipartite graph.

    LightGCN (arXiv 2002.02126) Eq. 8. Rows are users first, then items. There are no self loops, and a row without
    edges is zero. The three CSR arrays are dense buffers, so they follow the module to a device and DDP can broadcast
    them. They are rebuilt from the edges, so they stay out of checkpoints.

    Args:
        edges: Unique training interactions.

    Raises:
        ValueError: If the edge arrays differ in shape, are out of range or hold a pair twice.
    """

    crow: Tensor
    col: Tensor
    value: Tensor

    def __init__(self, edges: Edges) -> None:
        super().__init__()
        crow, col, value = _build_csr(edges)
        self.num_rows = edges.num_users + edges.num_items
        self.register_buffer("crow", crow, persistent=False)
        self.register_buffer("col", col, persistent=False)
        self.register_buffer("value", value, persistent=False)
        with warnings.catch_warnings():
            # torch announces once per process that CSR is in beta. This is silenced here and not at every product,
            # because entering catch_warnings makes Python repeat warnings that it has already shown.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            self.csr()

    def csr(self) -> Tensor:
        """Return the ``(num_rows, num_rows)`` sparse CSR tensor that views the three buffers (no copy)."""
        shape = (self.num_rows, self.num_rows)
        return torch.sparse_csr_tensor(self.crow, self.col, self.value, shape, check_invariants=False)

    def matmul(self, x: Tensor) -> Tensor:
        r"""Return :math:`\hat{A} x`, differentiable in ``x``. No activation is kept for the backward pass.

        Args:
            x: ``(num_rows, d)`` floats.

        Returns:
            ``(num_rows, d)``, of the dtype of :attr:`value` (float32 unless the module was cast).
        """
        return symmetric_product(self.csr(), x.to(self.value.dtype))

    def propagate(self, x: Tensor, num_layers: int) -> Tensor:
        r"""Return :math:`\frac{1}{L+1} \sum_{l=0}^{L} \hat{A}^l x` (LightGCN Eq. 4), differentiable in ``x``.

        Args:
            x: ``(num_rows, d)`` floats.
            num_layers: :math:`L`, at least 0.

        Returns:
            ``(num_rows, d)``, of the dtype of :attr:`value`.
        """
        return mean_propagation(self.csr(), x.to(self.value.dtype), num_layers)

    def cut(self, rows: Tensor) -> RowBlock | None:
        """Cut out the rows of the matrix that a batch needs in a last layer.

        Args:
            rows: ``(b,)`` int64, in any order, repeats allowed.

        Returns:
            The rows; None where products with the whole matrix take no longer.
        """
        return cut_rows(self.crow, self.col, self.value, rows)

    def matmul_rows(self, x: Tensor, block: RowBlock) -> tuple[Tensor, Tensor]:
        r"""Return the block's rows of :math:`\hat{A} x` and of ``x``, ``(r, d)`` each."""
        return product_rows(block, x.to(self.value.dtype))

    def propagate_rows(self, x: Tensor, num_layers: int, block: RowBlock) -> tuple[Tensor, Tensor]:
        """Return the block's rows of :meth:`propagate` and of ``x``, ``(r, d)`` each."""
        return mean_propagation_rows(self.csr(), block, x.to(self.value.dtype), num_layers)

    def extra_repr(self) -> str:
        """Show the number of rows and of edges."""
        return f"num_rows={self.num_rows}, num_edges={self.col.numel() // 2}"


def _build_csr(edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """Sort both directions of every edge by (row, column), weigh them, and return ``crow``, ``col`` and ``value``."""
    users, items, num_users, num_items = edges
    if users.dim() != 1 or users.shape != items.shape:
        raise ValueError(
            f"edges.users and edges.items must be vectors of one length, "
            f"got shapes {tuple(users.shape)} and {tuple(items.shape)}"
        )
    for name, ids, count in (("users", users, num_users), ("items", items, num_items)):
        low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
        if low < 0 or high >= count:
            raise ValueError(f"edges.{name} must be in 0..{count - 1}, got {low}..{high}")
    num_rows = num_users + num_items
    heads, tails = torch.cat([users, items + num_users]), torch.cat([items + num_users, users])
    keys = (heads * num_rows + tails).sort().values
    num_repeated = int((keys[1:] == keys[:-1]).sum()) // 2
    if num_repeated:
        raise ValueError(f"edges must be unique, got {num_repeated} repeated pairs")
    row, col = keys // num_rows, keys % num_rows
    degree = torch.bincount(row, minlength=num_rows)
    # A row without edges appears in no product below, so its clamped degree is never read.
    scale = degree.clamp(min=1).double().rsqrt()
    value = (scale[row] * scale[col]).float()
    crow = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    index = torch.int32 if keys.numel() <= torch.iinfo(torch.int32).max else torch.int64
    return crow.to(index), col.to(index), value
