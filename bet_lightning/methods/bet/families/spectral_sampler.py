"""The spectral family: actions that keep the largest gains of a trained table, whatever the popularity of a row."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bet_lightning.budget import check_cap
from bet_lightning.search.action import Action
from bet_lightning.search.set_predictor import SetPredictor
from bet_lightning.search.spectrum import MAX_EVENNESS, Spectrum, column_penalty
from bet_lightning.search.tails import SpectrumTails

_NEAR = 0.5  # share of the candidates that are drawn around the best actions so far
_STEPS = (0.02, 0.2)  # standard deviations of their differences from it, relative to the range
_EXPONENTS, _EVENNESS = (-1.0, 1.5), (0.0, MAX_EVENNESS)  # what they are drawn from
_SKEW = 6  # power of a uniform number that an evenness is: a few hundredths change as much as all of the rest
_NO_EXPONENTS, _EVENLY = (0.0, 0.0), (MAX_EVENNESS, MAX_EVENNESS)
EVEN, SPECTRAL = "uniform", "spectral"  # names of what sizes follow


class SpectralSampler:
    """Draws a user share, an exponent of popularity and an evenness; sizes follow from the spectrum, up to the cap.

    Half of the candidates are drawn around the best actions, near and less near, where some are given. Shares near
    either end are drawn more often: one side can do with little. A candidate is described by groups of rows, in
    O(groups x max_size); the one that is chosen is made exactly, row by row.

    Args:
        spectrum: What each parameter of each row is worth.
        cap: The budget B in parameters.
        min_size: Smallest size of a row.
        uniform: Whether exponents are 0 and evenness is full, so that each side has one size: only shares are drawn.

    Raises:
        ValueError: If the cap cannot be met by sizes within the bounds.
    """

    by_popularity: ClassVar[bool] = False

    def __init__(self, spectrum: Spectrum, cap: int, min_size: int = 1, uniform: bool = False) -> None:
        self.spectrum, self.min_size, self.max_size = spectrum, min_size, spectrum.max_size
        self._set_family(uniform)
        self._set_cap(cap)
        self.tails = tuple(
            SpectrumTails(spectrum.log_gains[side], spectrum.log_popularity[side]) for side in spectrum.sides
        )

    def _set_family(self, uniform: bool) -> None:
        self.name = EVEN if uniform else SPECTRAL
        self.exponents, self.evenness = (_NO_EXPONENTS, _EVENLY) if uniform else (_EXPONENTS, _EVENNESS)

    def _set_cap(self, cap: int) -> None:
        check_cap(cap, self.spectrum.num_rows, min_size=self.min_size, max_size=self.max_size)
        self.cap = cap
        self.shares = tuple(self.spectrum.user_cap(cap, share, self.min_size) / cap for share in (0.0, 1.0))

    def covers(self, action: Action) -> bool:
        """Whether an action is of this family and within its bounds."""
        of_family = not action.by_popularity and self.name in (SPECTRAL, action.user_distribution)
        return of_family and action.num_filled >= self.min_size * self.spectrum.num_rows

    def evenly(self) -> SpectralSampler:
        """The uniform sampler of the same spectrum and budget."""
        sampler = copy.copy(self)
        sampler._set_family(uniform=True)
        return sampler

    def with_cap(self, cap: int) -> SpectralSampler:
        """The same sampler, of the same spectrum, for another budget."""
        sampler = copy.copy(self)
        sampler._set_cap(cap)
        return sampler

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> SpectralBatch:
        """Draw candidates.

        Args:
            num_actions: How many.
            generator: The only source of randomness.
            best: The best actions measured so far, of this budget and of others.
        """
        uniform = torch.rand(num_actions, 4, generator=generator, dtype=torch.float64)
        step = _STEPS[0] * (_STEPS[1] / _STEPS[0]) ** uniform[:, 3:]
        normal = torch.randn(num_actions, 3, generator=generator, dtype=torch.float64) * step
        drawn = uniform[:, :3]
        if best:
            near = int(_NEAR * num_actions)
            centres = torch.tensor([self._places(action) for action in best], dtype=torch.float64)
            around = centres[torch.arange(near) % len(best)] + normal[:near]
            # mirrored at the bounds: cut off there, candidates would repeat each other
            drawn[:near] = (1 - (1 - around.abs()).abs()).clamp(0, 1)
        low, high = self.shares
        share = low + (high - low) * (drawn[:, 0] * torch.pi / 2).sin().square()
        low, high = self.exponents
        exponent = low + (high - low) * drawn[:, 1]
        low, high = (evenness ** (1 / _SKEW) for evenness in self.evenness)
        evenness = ((low + (high - low) * drawn[:, 2]) ** _SKEW).clamp(*self.evenness)
        return SpectralBatch(self, share, exponent, evenness)

    def _places(self, action: Action) -> tuple[float, float, float]:
        """Where an action lies between the bounds of what is drawn, from 0 to 1."""
        low, high = self.shares
        share = math.asin(math.sqrt(_place(action.user_share, low, high))) * 2 / math.pi
        roots = (evenness ** (1 / _SKEW) for evenness in (action.evenness, *self.evenness))
        return share, _place(action.user_shape, *self.exponents), _place(*roots)

    def sets(self, caps: Tensor, share: Tensor, exponent: Tensor, evenness: Tensor) -> tuple[Tensor, Tensor]:
        """The users' and the items' sets, rows of each size, for some actions.

        Args:
            caps: (b,) int64 parameters of each action.
            share: (b,) float64 the users' share of them.
            exponent: (b,) float64.
            evenness: (b,) float64.

        Returns:
            Two (b, max_size, groups) float32.
        """
        user_caps = (share * caps).round().long()
        users, items = (
            tails.counts(side_caps, exponent, column_penalty(evenness), self.min_size)
            for tails, side_caps in zip(self.tails, (user_caps, caps - user_caps), strict=True)
        )
        return users, items

    def sets_of(self, actions: Sequence[Action]) -> tuple[Tensor, Tensor]:
        """The sets of actions of this spectrum, whatever their budget."""
        caps = torch.tensor([action.params for action in actions])
        values = [(action.user_share, action.user_shape, action.evenness) for action in actions]
        return self.sets(caps, *torch.tensor(values, dtype=torch.float64).T)

    def make(self, share: float, exponent: float, evenness: float) -> Action:
        """The action itself: exact sizes of all rows."""
        sizes = self.spectrum.sizes(self.cap, share, exponent, evenness, self.min_size)
        users, items = (torch.bincount(sizes[side], minlength=self.max_size + 1)[1:] for side in self.spectrum.sides)
        dtype = torch.uint8 if self.max_size <= torch.iinfo(torch.uint8).max else torch.int16
        return Action(users, items, self.name, exponent, self.name, exponent, share, evenness, sizes.to(dtype))


def _place(value: float, low: float, high: float) -> float:
    """Where a value lies between bounds, from 0 to 1."""
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0


class SpectralBatch(NamedTuple):
    """Candidates by what they were drawn with.

    Attributes:
        sampler: What makes them.
        user_share: (num_actions,) float64.
        exponent: (num_actions,) float64.
        evenness: (num_actions,) float64.
    """

    sampler: SpectralSampler
    user_share: Tensor
    exponent: Tensor
    evenness: Tensor

    @property
    def sets(self) -> tuple[Tensor, Tensor]:
        """The users' and the items' sets: (num_actions, max_size, groups) rows of each size."""
        caps = torch.full((len(self.exponent),), self.sampler.cap)
        return self.sampler.sets(caps, self.user_share, self.exponent, self.evenness)

    def at(self, index: int) -> Action:
        """One of the actions."""
        return self.sampler.make(*(float(drawn[index]) for drawn in self[1:]))


class SpectralPredictor(SetPredictor):
    r"""Predicts the fitness of actions of any form, :math:`q_n` being :math:`\rho` of popularity and energy.

    Rows are seen by groups of like popularity and energy, over their largest values.

    Args:
        users: (groups, 2) float32 features of the users' groups.
        items: (groups, 2) float32, likewise.
        max_size: Largest size of a row.
        element_width: Width of :math:`\rho`.
        set_width: Width of :math:`\mu` and :math:`\pi`.
    """

    user_features: Tensor
    item_features: Tensor

    def __init__(
        self, users: Tensor, items: Tensor, max_size: int, element_width: int = 16, set_width: int = 64
    ) -> None:
        super().__init__(users.shape[1], max_size, element_width, set_width)
        self.register_buffer("user_features", users, persistent=False)
        self.register_buffer("item_features", items, persistent=False)

    def encode(self, users: Tensor, items: Tensor) -> Tensor:
        """Action vectors h_a.

        Args:
            users: (b, max_size, groups) float32, users of each group with size 1 to max_size.
            items: (b, max_size, groups) float32, likewise.

        Returns:
            (b, set_width + 1).
        """
        sums = users @ self.rho_users(self.user_features) + items @ self.rho_items(self.item_features)
        counts = users.sum(2) + items.sum(2)
        return self._pool(sums[counts > 0], counts)
