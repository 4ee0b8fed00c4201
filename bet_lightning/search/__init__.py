"""Action search: what BET adds to a recommender. Knows rows by their popularity and energy, never an interaction."""

from bet_lightning.search.action import Action, ActionBatch
from bet_lightning.search.by_popularity import GroupedSampler
from bet_lightning.search.fitness import FitnessPredictor
from bet_lightning.search.plan import BET, FULL, RetrainInit, RetrainParallel, TrainingPlan
from bet_lightning.search.profile import PopularityProfile, popularity_order
from bet_lightning.search.sampler import BoundedSampler, Realization
from bet_lightning.search.search import BudgetedSearch, Proposal, Sampler
from bet_lightning.search.selection import Selection
from bet_lightning.search.set_predictor import SetPredictor
from bet_lightning.search.spectral import SpectralPredictor, SpectralSampler
from bet_lightning.search.spectrum import Spectrum
from bet_lightning.search.training import ActionFitness
from bet_lightning.search.trial import Trial

__all__ = [
    "BET",
    "FULL",
    "Action",
    "ActionBatch",
    "ActionFitness",
    "BoundedSampler",
    "BudgetedSearch",
    "FitnessPredictor",
    "GroupedSampler",
    "PopularityProfile",
    "Proposal",
    "Realization",
    "RetrainInit",
    "RetrainParallel",
    "Sampler",
    "Selection",
    "SetPredictor",
    "SpectralPredictor",
    "SpectralSampler",
    "Spectrum",
    "TrainingPlan",
    "Trial",
    "popularity_order",
]
