"""CIESS: sizes chosen by reinforcement learning, an agent for users and one for items."""

from bet_lightning.methods.ciess.method import CIESS
from bet_lightning.methods.ciess.settings import AgentSettings

__all__ = ["CIESS", "AgentSettings"]
