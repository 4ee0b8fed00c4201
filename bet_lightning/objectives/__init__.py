"""Losses, and how items are ranked with what they train."""

from bet_lightning.objectives.base import ItemPowers, Objective, total_loss
from bet_lightning.objectives.bpr import BPR
from bet_lightning.objectives.softmax import SampledSoftmax

__all__ = ["BPR", "ItemPowers", "Objective", "SampledSoftmax", "total_loss"]
