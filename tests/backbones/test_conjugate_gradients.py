import torch
from torch import Tensor

from bet_lightning.backbones.conjugate_gradients import conjugate_gradients


def make_problem() -> tuple[Tensor, Tensor]:
    half = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target[:, 1] = 0
    return half @ half.T + torch.eye(6, dtype=torch.float64), target


def test_solves_every_column_in_as_many_steps_as_rows() -> None:
    matrix, target = make_problem()
    scale = (1 / matrix.diagonal()).unsqueeze(1).expand(6, 3)
    found, residual = conjugate_gradients(lambda x: matrix @ x, target, scale, steps=6)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target))
    torch.testing.assert_close(residual, torch.zeros_like(target))
    torch.testing.assert_close(conjugate_gradients(lambda x: matrix @ x, target, scale, steps=30)[0], found)
    nothing, residual = conjugate_gradients(lambda x: matrix @ x, target, scale, steps=0)
    assert not nothing.any() and residual.equal(target)


def test_entries_without_a_scale_stay_zero_and_have_a_residual() -> None:
    matrix, target = make_problem()
    free = torch.arange(6).unsqueeze(1) < torch.tensor([6, 6, 4])
    found, residual = conjugate_gradients(lambda x: matrix @ x, target, free / matrix.diagonal().unsqueeze(1), steps=6)
    torch.testing.assert_close(found[:4, 2], torch.linalg.solve(matrix[:4, :4], target[:4, 2]))
    assert not found[~free].any() and bool(residual[~free].all())
    torch.testing.assert_close(residual, target - matrix @ found)
