import torch

from bet_lightning.backbones.conjugate_gradients import conjugate_gradients


def test_solves_every_column_in_as_many_steps_as_rows() -> None:
    half = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = half @ half.T + torch.eye(6, dtype=torch.float64)
    target = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target[:, 1] = 0
    found = conjugate_gradients(lambda x: matrix @ x, target, steps=6)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target))
    torch.testing.assert_close(conjugate_gradients(lambda x: matrix @ x, target, steps=30), found)
    assert not conjugate_gradients(lambda x: matrix @ x, target, steps=0).any()
