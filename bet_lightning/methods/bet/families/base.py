"""What a family of actions is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from bet_lightning.backbones import Backbone, Refit
from bet_lightning.methods.bet.profile import PopularityProfile, popularity_order
from bet_lightning.methods.bet.search import Sampler
from bet_lightning.methods.bet.set_predictor import SetPredictor
from bet_lightning.resolved_budget import ResolvedBudget


class Rows(NamedTuple):
    """What a search knows of the rows without a trained table.

    Attributes:
        user_frequency: (num_users,) training interactions a user.
        item_frequency: (num_items,) training interactions an item.
        width: Largest size of a row.
    """

    user_frequency: Tensor
    item_frequency: Tensor
    width: int

    @property
    def profiles(self) -> tuple[PopularityProfile, PopularityProfile]:
        """Popularity of users and of items."""
        return (
            PopularityProfile.from_frequency(self.user_frequency),
            PopularityProfile.from_frequency(self.item_frequency),
        )

    @property
    def orders(self) -> tuple[Tensor, Tensor]:
        """User rows and item rows from the most to the least popular."""
        return popularity_order(self.user_frequency), popularity_order(self.item_frequency)


class Family(ABC):
    """A way to make actions.

    Attributes:
        probe_epochs: Epochs of a probe where neither the user nor the backbone's recipe asks for more.
        refit_steps: Steps by which cut tables compensate for what is cut, where the user says nothing.
        leaves_rows_empty: Whether rows may be of size 0 where a backbone rebuilds them, if the user says nothing.
        needs_energy: Whether the backbone has to know what its parameters are worth.
    """

    probe_epochs: ClassVar[int] = 0
    refit_steps: ClassVar[int] = 5
    leaves_rows_empty: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = True

    @abstractmethod
    def gains(self, network: Backbone, cap: int, min_size: int, refit: Refit) -> Tensor | None:
        """Return what parameters of a trained table are worth, ``(num_rows, row_width)``; None if it does not matter.

        Args:
            network: The backbone with its full pre-trained table.
            cap: About how many parameters will be kept.
            min_size: Smallest size of a row.
            refit: How cuts are compensated for.
        """

    @abstractmethod
    def search_space(
        self,
        rows: Rows,
        gains: Tensor | None,
        budgets: Sequence[ResolvedBudget],
        min_size: int,
        trains_fresh: bool,
    ) -> tuple[list[Sampler], SetPredictor]:
        """Return samplers, which iterations take turns with, and a fresh predictor of what they draw.

        Args:
            rows: The rows.
            gains: What :meth:`gains` returned.
            budgets: The budgets; each is sampled in every turn.
            min_size: Smallest size of a row.
            trains_fresh: Whether actions will also be trained from fresh weights.
        """
