"""Principal axes of a table's rows."""

import torch
from torch import Tensor


def principal_axes(rows: Tensor, weights: Tensor) -> Tensor:
    r"""Axes along which the directions of rows vary most.

    The eigenvectors of :math:`\sum_n w_n r_n r_n^\top / \|r_n\|^2`, in descending order of their eigenvalues: after
    a rotation to them no other choice of k columns holds more of the rows' weighted directions than the first k do.

    Args:
        rows: ``(n, d)`` floats.
        weights: ``(n,)`` not negative.

    Returns:
        ``(d, d)`` float64, an axis a column, orthonormal.
    """
    directions = torch.nn.functional.normalize(rows.double()) * weights.double().sqrt().unsqueeze(1)
    axes: Tensor = torch.linalg.eigh(directions.T @ directions).eigenvectors  # by ascending eigenvalues
    return axes.flip(1)


def rotate(rows: Tensor, axes: Tensor) -> Tensor:
    """Coordinates ``(n, d)`` of rows along axes ``(d, d)``, computed in float64, in the rows' dtype."""
    return (rows.double() @ axes).to(rows.dtype)
