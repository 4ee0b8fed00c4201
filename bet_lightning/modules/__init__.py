"""LightningModules: thin shells around the backbones and the fitness predictor."""

from bet_lightning.modules.actions import ActionsDataModule
from bet_lightning.modules.fitness import FitnessPredictorModule
from bet_lightning.modules.recommender import RecommenderModule, TopItems
from bet_lightning.modules.schedule import LRSchedule
from bet_lightning.modules.softmax import SampledSoftmax

__all__ = [
    "ActionsDataModule",
    "FitnessPredictorModule",
    "LRSchedule",
    "RecommenderModule",
    "SampledSoftmax",
    "TopItems",
]
