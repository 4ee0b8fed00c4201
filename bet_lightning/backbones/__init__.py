"""Recommenders in pure torch."""

from bet_lightning.backbones.abilities import (
    HasAuxiliaryLoss,
    HasKeptForm,
    KeptForm,
    KnowsEnergy,
    Refit,
    RefitsCuts,
    TurnsBasis,
)
from bet_lightning.backbones.base import Backbone
from bet_lightning.backbones.graph import Edges, NormalizedGraph
from bet_lightning.backbones.lightgcn import LightGCN
from bet_lightning.backbones.mf import MF
from bet_lightning.backbones.neumf import NeuMF
from bet_lightning.backbones.ngcf import NGCF
from bet_lightning.backbones.recipe import Recipe

__all__ = [
    "MF",
    "NGCF",
    "Backbone",
    "Edges",
    "HasAuxiliaryLoss",
    "HasKeptForm",
    "KeptForm",
    "KnowsEnergy",
    "LightGCN",
    "NeuMF",
    "NormalizedGraph",
    "Recipe",
    "Refit",
    "RefitsCuts",
    "TurnsBasis",
]
