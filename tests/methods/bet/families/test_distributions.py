import pytest
import torch

from bet_lightning.methods.bet.families.distributions import DISTRIBUTIONS, SizeDistribution


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("relative_shape", [0.01, 0.3, 1.0])
class TestOneDistribution:
    def test_survival_inverts_the_quantile(self, distribution: SizeDistribution, relative_shape: float) -> None:
        shape = torch.tensor(relative_shape * distribution.max_shape, dtype=torch.float64)
        u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
        x = distribution.quantile(u, shape)
        assert (x.diff() > 0).all()
        torch.testing.assert_close(distribution.survival(x, shape), 1 - u)

    def test_limited_mean_is_that_of_draws_cut_off(self, distribution: SizeDistribution, relative_shape: float) -> None:
        shape = torch.tensor(relative_shape * distribution.max_shape, dtype=torch.float64)
        draws = distribution.quantile((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000, shape)
        limits = torch.quantile(draws[::100], torch.tensor([0.1, 0.5, 0.9, 1.0], dtype=torch.float64))
        expected = torch.stack([draws.clamp(max=float(limit)).mean() for limit in limits])
        torch.testing.assert_close(distribution.limited_mean(limits, shape), expected, rtol=1e-4, atol=0)
        assert distribution.limited_mean(torch.zeros(1, dtype=torch.float64), shape) == 0
