import torch

from bet_lightning.backbones.ngcf_layer import ngcf_layer


def test_equals_its_formula_and_its_gradient() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (5, 3), (6, 4), (4,))]
    neighbours, hidden, weight, bias = tensors
    linear = (neighbours + hidden) @ weight[:3] + (neighbours * hidden) @ weight[3:] + bias
    torch.testing.assert_close(ngcf_layer(*tensors, 0.2), torch.where(linear > 0, linear, 0.2 * linear))
    assert torch.autograd.gradcheck(lambda *each: ngcf_layer(*each, 0.2), tensors)
