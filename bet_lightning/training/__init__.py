"""Training one table: the core operation, in a plain loop or as epochs of a Lightning fit."""

from bet_lightning.training.loop import train_epoch, train_task
from bet_lightning.training.trial import Trial

__all__ = ["Trial", "train_epoch", "train_task"]
