"""The spectral family: actions that keep the largest gains of a trained table, whatever the popularity of a row."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bet_lightning.allocation import check_cap
from bet_lightning.methods.bet.action import Action, Draw, Sets, precision_of
from bet_lightning.methods.bet.families.spectrum import MAX_EVENNESS, Spectrum, column_penalty
from bet_lightning.methods.bet.families.tails import SpectrumTails

_NEAR = 0.5  # share of the candidates that are drawn around the best actions so far
_STEPS = (0.02, 0.2)  # standard deviations of their differences from it, relative to the range
_EXPONENTS, _EVENNESS = (-1.0, 2.5), (0.0, MAX_EVENNESS)  # what they are drawn from
_SKEW = 6  # power of a uniform number that an evenness is: a few hundredths change as much as all of the rest
_NO_EXPONENTS, _EVENLY = (0.0, 0.0), (MAX_EVENNESS, MAX_EVENNESS)


@dataclass(frozen=True)
class SpectralDraw(Draw):
    """What sizes follow from a spectrum with.

    Attributes:
        exponent: Power of popularity by which gains count.
        evenness: How much of equal sizes there is in the sizes, from 0 to 1.
    """

    kind: ClassVar[str] = "spectral"
    exponent: float
    evenness: float

    def is_near(self, other: Draw, difference: float) -> bool:
        """Whether actions of both draws train alike: see :meth:`Draw.is_near`."""
        return (
            super().is_near(other, difference)
            and isinstance(other, SpectralDraw)
            and abs(self.evenness - other.evenness) < difference
        )


@dataclass(frozen=True)
class EvenDraw(SpectralDraw):
    """A share that two whole numbers follow from, one for users and one for items."""

    kind: ClassVar[str] = "even"


class SpectralSampler:
    """Draws a user share, an exponent of popularity and an evenness; sizes follow from the spectrum, up to the cap.

    Half of the candidates are drawn around the best actions, near and less near, where some are given. Shares near
    either end are drawn more often: one side can do with little. A candidate is described by groups of rows, in
    O(groups x max_size); the one that is chosen is made exactly, row by row.

    Args:
        spectrum: What each parameter of each row is worth.
        cap: The budget B in parameters.
        min_size: Smallest size of a row.
        even: Whether exponents are 0 and evenness is full, so that each side has one size: only shares are drawn.

    Raises:
        ValueError: If the cap cannot be met by sizes within the bounds.
    """

    def __init__(self, spectrum: Spectrum, cap: int, min_size: int = 1, even: bool = False) -> None:
        self.spectrum, self.min_size, self.max_size = spectrum, min_size, spectrum.max_size
        self._set_draw(even)
        self._set_cap(cap)
        self.tails = tuple(
            SpectrumTails(spectrum.log_gains[side], spectrum.log_popularity[side]) for side in spectrum.sides
        )

    def _set_draw(self, even: bool) -> None:
        self.draw: type[SpectralDraw] = EvenDraw if even else SpectralDraw
        self.exponents, self.evenness = (_NO_EXPONENTS, _EVENLY) if even else (_EXPONENTS, _EVENNESS)

    def _set_cap(self, cap: int) -> None:
        check_cap(cap, self.spectrum.num_rows, min_size=self.min_size, max_size=self.max_size)
        self.cap = cap
        self.shares = tuple(self.spectrum.user_cap(cap, share, self.min_size) / cap for share in (0.0, 1.0))

    def describes(self, action: Action) -> bool:
        """Whether ``sets_of`` takes an action: any with the sizes of all rows."""
        return action.row_sizes is not None

    def covers(self, action: Action) -> bool:
        """Whether an action is of this family and within its bounds."""
        return isinstance(action.draw, self.draw) and action.num_filled >= self.min_size * self.spectrum.num_rows

    def evenly(self) -> SpectralSampler:
        """Return the sampler of two whole numbers, of the same spectrum and budget."""
        sampler = copy.copy(self)
        sampler._set_draw(even=True)
        return sampler

    def with_cap(self, cap: int) -> SpectralSampler:
        """Return the same sampler, of the same spectrum, for another budget."""
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
            draws = [action.draw for action in best if isinstance(action.draw, SpectralDraw)]
            centres = torch.tensor([self._coordinates(draw) for draw in draws], dtype=torch.float64)
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

    def _coordinates(self, draw: SpectralDraw) -> tuple[float, float, float]:
        """Where a draw lies between the bounds of what is drawn, from 0 to 1."""
        low, high = self.shares
        share = math.asin(math.sqrt(_relative(draw.user_share, low, high))) * 2 / math.pi
        roots = (evenness ** (1 / _SKEW) for evenness in (draw.evenness, *self.evenness))
        return share, _relative(draw.exponent, *self.exponents), _relative(*roots)

    def sets(self, caps: Tensor, share: Tensor, exponent: Tensor, evenness: Tensor) -> tuple[Tensor, Tensor]:
        """Return the users' and the items' sets, rows of each size, for some actions.

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

    def sets_of(self, actions: Sequence[Action]) -> Sets:
        """Return the sets of actions of any budget: counted like candidates where they are of this spectrum."""
        found: list[tuple[Tensor, Tensor] | None] = [self._count_rows(action) for action in actions]
        drawn = [index for index, sets in enumerate(found) if sets is None]
        if drawn:
            draws = [actions[index].draw for index in drawn]
            values = [(d.user_share, d.exponent, d.evenness) for d in draws if isinstance(d, SpectralDraw)]
            caps = torch.tensor([actions[index].params for index in drawn])
            both = self.sets(caps, *torch.tensor(values, dtype=torch.float64).T)
            for index, *sets in zip(drawn, *both, strict=True):
                found[index] = (sets[0], sets[1])
        users, items = (torch.stack(side) for side in zip(*(sets for sets in found if sets), strict=True))
        return Sets(users, items, precision_of(actions))

    def _count_rows(self, action: Action) -> tuple[Tensor, Tensor] | None:
        """The exact sets of an action that is not of this spectrum."""
        if isinstance(action.draw, SpectralDraw) or action.row_sizes is None:
            return None
        sides = zip(self.tails, self.spectrum.sides, strict=True)
        users, items = (tails.count_rows(action.row_sizes[side]) for tails, side in sides)
        return users, items

    def make(self, share: float, exponent: float, evenness: float) -> Action:
        """Return the action itself: exact sizes of all rows."""
        sizes = self.spectrum.sizes(self.cap, share, exponent, evenness, self.min_size)
        return Action.from_sizes(sizes, self.spectrum.num_users, self.max_size, self.draw(share, exponent, evenness))


def _relative(value: float, low: float, high: float) -> float:
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
    def sets(self) -> Sets:
        """The users' and the items' sets: (num_actions, max_size, groups) rows of each size."""
        caps = torch.full((len(self.exponent),), self.sampler.cap)
        users, items = self.sampler.sets(caps, self.user_share, self.exponent, self.evenness)
        return Sets(users, items, torch.ones(len(caps)))

    def with_cap(self, cap: int) -> SpectralBatch:
        """Return the same draws for another number of parameters."""
        return self._replace(sampler=self.sampler.with_cap(cap))

    def at(self, index: int) -> Action:
        """Return one of the actions."""
        return self.sampler.make(*(float(drawn[index]) for drawn in self[1:]))
