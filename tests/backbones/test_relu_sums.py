"""Sums of ReLU over hidden units, compiled and by the kernels of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import relu_sums
from bet_lightning.backbones.relu_sums import USERS_AT_ONCE, add_relu_sums, as_signed


def expected_sums(start: Tensor, users: Tensor, items: Tensor, weight: Tensor) -> Tensor:
    hidden = (users.double()[:, None] + items.double()).clamp(min=0)
    return (start.double() + (hidden * weight.double()).sum(-1)).float()


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("num_users", "num_items", "num_units"),
    [
        (1, 9, 6),
        (5, 1500, 9),
        (2, 1024, 8),
        (0, 9, 6),
        (USERS_AT_ONCE, 40, 5),
        (USERS_AT_ONCE + 1, 40, 1),
        (7, 2049, 4),
    ],
)
def test_adds_the_weighted_sums(
    num_users: int, num_items: int, num_units: int, threads: int, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_compiled:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(relu_sums, "compiled", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    users, items = torch.randn(num_users, num_units), torch.randn(num_items, num_units)
    start = torch.randn(num_users, num_items)
    for weight in (torch.randn(num_units), torch.rand(num_units), -torch.rand(num_units), torch.zeros(num_units)):
        scores = start.clone()
        signed = as_signed(users, items, weight)
        assert add_relu_sums(scores, *signed, int((weight > 0).sum())) is scores
        torch.testing.assert_close(scores, expected_sums(start, users, items, weight), rtol=1e-5, atol=1e-4)


def test_items_of_a_unit_are_contiguous() -> None:
    _, items = as_signed(torch.randn(3, 4), torch.randn(5, 4), torch.tensor([1.0, -1, 0, 2]))
    assert items.shape == (5, 4) and items.T.is_contiguous()
