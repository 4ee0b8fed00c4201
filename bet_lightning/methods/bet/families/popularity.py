"""The paper's family: sizes from distributions, handed out by popularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from bet_lightning.backbones import Backbone, Refit
from bet_lightning.methods.bet.families.base import Family, Rows
from bet_lightning.methods.bet.families.bounded_sampler import BoundedSampler, Realization
from bet_lightning.methods.bet.families.formats import samplers_within
from bet_lightning.methods.bet.fitness_predictor import FitnessPredictor
from bet_lightning.methods.bet.search import Sampler
from bet_lightning.methods.bet.set_predictor import SetPredictor
from bet_lightning.resolved_budget import ResolvedBudget


class PopularityFamily(Family):
    """BET's own actions (Sec. 3.2): four distributions, of which the most popular rows get the largest sizes.

    Args:
        realization: How sizes follow from a distribution: its ``quantile`` or random ``draws``, as in the paper.
    """

    probe_epochs: ClassVar[int] = 1
    refit_steps: ClassVar[int] = 0
    leaves_rows_empty: ClassVar[bool] = False
    needs_energy: ClassVar[bool] = False

    def __init__(self, realization: Realization = "quantile") -> None:
        self.realization: Realization = realization

    def gains(self, network: Backbone, cap: int, min_size: int, refit: Refit) -> Tensor | None:
        """Return None: popularity says everything."""
        return None

    def search_space(
        self,
        rows: Rows,
        gains: Tensor | None,
        budgets: Sequence[ResolvedBudget],
        min_size: int,
        trains_fresh: bool,
    ) -> tuple[list[Sampler], SetPredictor]:
        """Return a bounded sampler a budget and the paper's predictor: see :meth:`Family.search_space`."""
        counts = len(rows.user_frequency), len(rows.item_frequency)
        sampler = BoundedSampler(
            *counts, budgets[0].typical_cap(budgets[0].plain), rows.width, min_size, self.realization
        )
        return samplers_within([sampler], budgets), FitnessPredictor(*rows.profiles, rows.width)
