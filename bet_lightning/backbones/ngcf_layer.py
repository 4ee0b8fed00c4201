"""One layer of NGCF (arXiv 1905.08108, Eq. 7) after its graph product, as one autograd function."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_ROWS = 4096  # on a CPU: what a layer computes for this many rows stays in cache


def ngcf_layer(
    neighbours: Tensor,
    hidden: Tensor,
    sum_weight: Tensor,
    product_weight: Tensor,
    bias: Tensor,
    slope: float,
    dropped: Tensor | None = None,
) -> Tensor:
    r"""Return :math:`\mathrm{LeakyReLU}((n + h) W_1 + (n \odot h) W_2 + b)`, differentiable once.

    Forward and backward passes go through blocks of rows. So nothing of the size of the table is held except the
    arguments and the result: sums, products and linear maps are computed again in the backward pass.

    Args:
        neighbours: ``(r, d)`` float32, :math:`n`, rows of the graph's product with the layer's input.
        hidden: ``(r, d)`` float32, :math:`h`, the same rows of the input.
        sum_weight: ``(d, e)`` float32, :math:`W_1`.
        product_weight: ``(d, e)`` float32, :math:`W_2`.
        bias: ``(e,)`` float32.
        slope: Slope of LeakyReLU below zero, not negative.
        dropped: ``(r, e)`` bool, entries of the output to set to zero; None for none.

    Returns:
        ``(r, e)`` float32.
    """
    out = _Layer.apply(  # type: ignore[no-untyped-call]
        neighbours, hidden, sum_weight, product_weight, bias, slope, dropped
    )
    return cast(Tensor, out)


def _blocks(x: Tensor) -> list[slice]:
    size = _BLOCK_ROWS if x.device.type == "cpu" else max(1, len(x))
    return [slice(start, start + size) for start in range(0, len(x), size)]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        neighbours: Tensor,
        hidden: Tensor,
        sum_weight: Tensor,
        product_weight: Tensor,
        bias: Tensor,
        slope: float,
        dropped: Tensor | None,
    ) -> Tensor:
        out = hidden.new_empty(len(hidden), len(bias))
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _blocks(hidden):
                block = torch.addmm(bias, neighbours[rows] + hidden[rows], sum_weight, out=out[rows])
                block.addmm_(neighbours[rows] * hidden[rows], product_weight)
                torch.nn.functional.leaky_relu_(block, slope)
                if dropped is not None:
                    block.masked_fill_(dropped[rows], 0)
        ctx.save_for_backward(neighbours, hidden, sum_weight, product_weight, out)
        ctx.slope = slope
        ctx.dropped = dropped
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        neighbours, hidden, sum_weight, product_weight, out = ctx.saved_tensors
        towards_neighbours, towards_hidden = torch.empty_like(hidden), torch.empty_like(hidden)
        for_sum, for_product = torch.zeros_like(sum_weight), torch.zeros_like(product_weight)
        for_bias = sum_weight.new_zeros(sum_weight.shape[1])
        with torch.autocast(out.device.type, enabled=False):
            for rows in _blocks(hidden):
                n, h = neighbours[rows], hidden[rows]
                # The slope is not negative, so the output has the sign of the input.
                grad = torch.ops.aten.leaky_relu_backward(grads[0][rows], out[rows], ctx.slope, True)
                if ctx.dropped is not None:
                    grad.masked_fill_(ctx.dropped[rows], 0)
                through_sum, through_product = grad @ sum_weight.T, grad @ product_weight.T
                torch.addcmul(through_sum, through_product, h, out=towards_neighbours[rows])
                torch.addcmul(through_sum, through_product, n, out=towards_hidden[rows])
                for_sum.addmm_((n + h).T, grad)
                for_product.addmm_((n * h).T, grad)
                for_bias += grad.sum(0)
        return towards_neighbours, towards_hidden, for_sum, for_product, for_bias, None, None
