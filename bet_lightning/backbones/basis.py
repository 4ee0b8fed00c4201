"""Principal axes of a table's rows."""

import torch
from torch import Tensor


def principal_axes(rows: Tensor, weights: Tensor) -> Tensor:
    r"""Return the axes along which the directions of rows vary most.

    They are the eigenvectors of :math:`\sum_n w_n r_n r_n^\top / \|r_n\|^2`, in descending order of their eigenvalues.
    After a rotation to them, no other choice of k columns holds more of the rows' weighted directions than the first k.

    Args:
        rows: ``(n, d)`` floats.
        weights: ``(n,)``, not negative.

    Returns:
        ``(d, d)`` float64, orthonormal columns, of which each is an axis.
    """
    directions = torch.nn.functional.normalize(rows.double()) * weights.double().sqrt().unsqueeze(1)
    axes: Tensor = torch.linalg.eigh(directions.T @ directions).eigenvectors  # in ascending order
    return axes.flip(1)


def rotate(rows: Tensor, axes: Tensor) -> Tensor:
    """Return the coordinates ``(n, d)`` of rows along axes ``(d, d)``: computed in float64, of the rows' dtype."""
    return (rows.double() @ axes).to(rows.dtype)
