from __future__ import annotations

import itertools

import torch

from bet_lightning.search.spectrum import Spectrum


def test_every_cap_is_met_whatever_the_share() -> None:
    generator = torch.Generator().manual_seed(0)
    energy = torch.rand(30, 6, generator=generator)
    frequency = torch.randint(0, 9, (30,), generator=generator)
    spectrum = Spectrum(energy, frequency, num_users=12)
    for cap, share, exponent in itertools.product((30, 31, 77, 179, 180), (0.0, 0.4, 1.0), (-1.0, 0.0, 0.5)):
        sizes = spectrum.sizes(cap, share, exponent)
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
