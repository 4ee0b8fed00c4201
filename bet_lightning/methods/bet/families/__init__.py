"""Families: ways to make actions, each with what it needs of the trained table and what a predictor sees of it."""

from bet_lightning.methods.bet.families.base import Family, Rows
from bet_lightning.methods.bet.families.bounded_sampler import BoundedSampler, PopularityDraw, Realization
from bet_lightning.methods.bet.families.popularity import PopularityFamily
from bet_lightning.methods.bet.families.spectral import EvenFamily, MixedFamily, SpectralFamily
from bet_lightning.methods.bet.families.spectral_sampler import EvenDraw, SpectralDraw, SpectralSampler
from bet_lightning.methods.bet.families.spectrum import Spectrum

__all__ = [
    "BoundedSampler",
    "EvenDraw",
    "EvenFamily",
    "Family",
    "MixedFamily",
    "PopularityDraw",
    "PopularityFamily",
    "Realization",
    "Rows",
    "SpectralDraw",
    "SpectralFamily",
    "SpectralSampler",
    "Spectrum",
]
