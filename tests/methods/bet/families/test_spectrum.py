from __future__ import annotations

import itertools

import torch

from bet_lightning.methods.bet.families.spectrum import Spectrum


def test_every_cap_is_met_whatever_the_share() -> None:
    generator = torch.Generator().manual_seed(0)
    energy = torch.rand(30, 6, generator=generator)
    frequency = torch.randint(0, 9, (30,), generator=generator)
    spectrum = Spectrum(energy, frequency, num_users=12)
    drawn = itertools.product((30, 31, 77, 179, 180), (0.0, 0.4, 1.0), (-1.0, 0.0, 0.5), (0.0, 0.4, 1.0))
    for cap, share, exponent, evenness in drawn:
        sizes = spectrum.sizes(cap, share, exponent, evenness)
        assert int(sizes.sum()) == cap
        assert 1 <= int(sizes.min()) <= int(sizes.max()) <= 6


def test_share_and_exponent_move_parameters() -> None:
    energy = torch.ones(40, 8)
    frequency = torch.arange(20).repeat(2)
    spectrum = Spectrum(energy, frequency, num_users=20)
    few, many = (int(spectrum.sizes(160, share, 0.5)[:20].sum()) for share in (0.3, 0.7))
    assert (few, many) == (48, 112)
    popular = spectrum.sizes(160, 0.5, 1.0)[:20]
    assert (popular.diff() >= 0).all()
    assert popular[-1] > popular[0]


def test_values_follow_the_formula() -> None:
    generator = torch.Generator().manual_seed(1)
    gains = torch.rand(9, 5, generator=generator).sort(descending=True).values
    frequency = torch.randint(1, 50, (9,), generator=generator)
    sizes = Spectrum(gains, frequency, num_users=9).sizes(20, 1.0, 0.7, 0.25, min_size=0)
    values = gains.log2() + 0.7 * frequency.log2()[:, None] - torch.arange(5) / 3
    assert sizes.equal((values >= values.flatten().sort(descending=True).values[19]).sum(1))


def test_evenness_goes_from_the_gains_to_equal_sizes() -> None:
    gains = torch.rand(40, 8, generator=torch.Generator().manual_seed(2)).pow(6)
    spectrum = Spectrum(gains, torch.ones(40), num_users=20)
    spreads = [float(spectrum.sizes(160, 0.5, 0.0, evenness)[:20].float().std()) for evenness in (0.0, 0.5, 0.9, 1.0)]
    assert spreads == sorted(spreads, reverse=True)
    assert spectrum.sizes(160, 0.5, 0.0, 1.0).unique().tolist() == [4]
