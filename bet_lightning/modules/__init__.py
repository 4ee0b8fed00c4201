"""LightningModules: thin shells around the backbones and the fitness predictor."""

from bet_lightning.modules.actions import ActionsDataModule
from bet_lightning.modules.fitness import FitnessPredictorModule
from bet_lightning.modules.recommender import RecommenderModule

__all__ = ["ActionsDataModule", "FitnessPredictorModule", "RecommenderModule"]
