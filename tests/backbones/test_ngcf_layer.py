import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import ngcf_layer as module
from bet_lightning.backbones.ngcf_layer import ngcf_layer


def operands(num_rows: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = (num_rows, 3), (num_rows, 3), (3, 4), (3, 4), (4,)
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("dropping", [False, True])
def test_equals_its_formula_and_its_gradient(dropping: bool) -> None:
    tensors = operands(5)
    neighbours, hidden, sum_weight, product_weight, bias = tensors
    dropped = torch.rand(5, 4) < 0.5 if dropping else None
    linear = (neighbours + hidden) @ sum_weight + (neighbours * hidden) @ product_weight + bias
    expected = torch.where(linear > 0, linear, 0.2 * linear)
    if dropped is not None:
        expected = expected * ~dropped
    torch.testing.assert_close(ngcf_layer(*tensors, 0.2, dropped), expected)
    assert torch.autograd.gradcheck(lambda *each: ngcf_layer(*each, 0.2, dropped), tensors)


def test_blocks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = operands(11)
    found = []
    for size in (4, 11):
        monkeypatch.setattr(module, "_BLOCK_ROWS", size)
        out = ngcf_layer(*tensors, 0.2)
        found.append((out, *torch.autograd.grad(out.square().sum(), tensors)))
    torch.testing.assert_close(found[0], found[1])
