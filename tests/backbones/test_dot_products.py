import torch

from bet_lightning.backbones.dot_products import squared_norms, triplet_scores, triplet_scores_and_norms


def test_equal_dot_products_and_their_gradient() -> None:
    torch.manual_seed(0)
    rows = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    pos_scores, neg_scores = triplet_scores(rows)
    user, pos, neg = rows.chunk(3)
    torch.testing.assert_close(pos_scores, (user * pos).sum(1))
    torch.testing.assert_close(neg_scores, (user * neg).sum(1))
    assert torch.autograd.gradcheck(triplet_scores, rows)


def test_one_side_alone_has_a_gradient() -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: triplet_scores(x)[0], rows)


def test_squared_norms_and_their_gradient() -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(squared_norms(rows), rows.square().sum(1))
    assert torch.autograd.gradcheck(squared_norms, rows)


def test_scores_and_norms_together() -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(triplet_scores_and_norms(rows), (*triplet_scores(rows), squared_norms(rows)))
    assert torch.autograd.gradcheck(triplet_scores_and_norms, rows)
