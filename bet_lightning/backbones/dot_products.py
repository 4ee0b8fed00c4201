"""Dot products of triplets and squared norms of rows, as autograd functions that allocate few tensors."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def triplet_scores(rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`z_u^\top z_i` and :math:`z_u^\top z_j` of triplets (u, i, j), differentiable once.

    This keeps only its argument and writes the gradient into one tensor. To split the rows, multiply and sum would
    instead allocate and join seven tensors of a third of that size.

    Args:
        rows: ``(3 b, d)`` float32, vectors of all users, then of all positive items, then of all negative items.

    Returns:
        Two ``(b,)`` tensors.
    """
    return cast(tuple[Tensor, Tensor], _TripletScores.apply(rows))  # type: ignore[no-untyped-call]


def squared_norms(rows: Tensor) -> Tensor:
    """Return the squared Euclidean norm of every row, ``(r, d)`` to ``(r,)``, differentiable once."""
    return cast(Tensor, _SquaredNorms.apply(rows))  # type: ignore[no-untyped-call]


def triplet_scores_and_norms(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return :func:`triplet_scores` and :func:`squared_norms` of the same rows, with one gradient tensor for both."""
    return cast(tuple[Tensor, Tensor, Tensor], _TripletScoresAndNorms.apply(rows))  # type: ignore[no-untyped-call]


def _towards_rows(rows: Tensor, for_pos: Tensor, for_neg: Tensor) -> Tensor:
    """Return the gradient of the rows, given the gradients of the two scores, ``(b,)`` each."""
    user, pos, neg = rows.chunk(3)
    for_pos, for_neg = for_pos.unsqueeze(1), for_neg.unsqueeze(1)
    out = torch.empty_like(rows)
    out_user, out_pos, out_neg = out.chunk(3)
    torch.mul(pos, for_pos, out=out_user).addcmul_(neg, for_neg)
    torch.mul(user, for_pos, out=out_pos)
    torch.mul(user, for_neg, out=out_neg)
    return out


class _TripletScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        user, pos, neg = rows.chunk(3)
        return torch.linalg.vecdot(user, pos), torch.linalg.vecdot(user, neg)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (rows,) = ctx.saved_tensors
        return _towards_rows(rows, *grads)


class _SquaredNorms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        norms: Tensor = torch.linalg.vecdot(rows, rows)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (rows,) = ctx.saved_tensors
        towards: Tensor = rows * (2 * grads[0]).unsqueeze(1)
        return towards


class _TripletScoresAndNorms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rows)
        user, pos, neg = rows.chunk(3)
        vecdot = torch.linalg.vecdot
        return vecdot(user, pos), vecdot(user, neg), vecdot(rows, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (rows,) = ctx.saved_tensors
        return _towards_rows(rows, *grads[:2]).addcmul_(rows, (2 * grads[2]).unsqueeze(1))
