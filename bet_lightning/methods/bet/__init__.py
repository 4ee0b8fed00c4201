"""BET: what the method adds to a recommender. Knows rows by their popularity and energy, never an interaction."""

from bet_lightning.methods.bet.families import EvenFamily, Family, MixedFamily, PopularityFamily, SpectralFamily
from bet_lightning.methods.bet.method import BET
from bet_lightning.methods.bet.settings import (
    ProbeSettings,
    RetrainSettings,
    SearchSettings,
    TuneSettings,
)

__all__ = [
    "BET",
    "EvenFamily",
    "Family",
    "MixedFamily",
    "PopularityFamily",
    "ProbeSettings",
    "RetrainSettings",
    "SearchSettings",
    "SpectralFamily",
    "TuneSettings",
]
