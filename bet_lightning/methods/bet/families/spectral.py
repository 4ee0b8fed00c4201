"""Families that ask the trained table what its parameters are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone, KnowsEnergy, Refit
from bet_lightning.methods.bet.families.base import Family, Rows
from bet_lightning.methods.bet.families.bounded_sampler import BoundedSampler, Realization
from bet_lightning.methods.bet.families.formats import CappedSampler, samplers_within
from bet_lightning.methods.bet.families.grouped_sampler import GroupedSampler
from bet_lightning.methods.bet.families.spectral_sampler import SpectralSampler
from bet_lightning.methods.bet.families.spectrum import Spectrum
from bet_lightning.methods.bet.group_predictor import GroupPredictor
from bet_lightning.methods.bet.search import Sampler
from bet_lightning.methods.bet.set_predictor import SetPredictor
from bet_lightning.resolved_budget import ResolvedBudget

_EVEN_EVERY = 4  # turns of a search for fresh weights: whole numbers are rarely drawn otherwise and often best there


class SpectralFamily(Family):
    """Sizes from the spectrum of the trained table: parameters go to the rows and columns that carry most of it."""

    def gains(self, network: Backbone, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what the backbone says of its parameters: see :meth:`Family.gains`."""
        return cast(KnowsEnergy, network).gains(cap, min_size, refit)

    def search_space(
        self,
        rows: Rows,
        gains: Tensor | None,
        budgets: Sequence[ResolvedBudget],
        min_size: int,
        trains_fresh: bool,
    ) -> tuple[list[Sampler], SetPredictor]:
        """Return samplers of one spectrum and a predictor of its groups: see :meth:`Family.search_space`."""
        if gains is None:
            raise ValueError(f"{type(self).__name__} needs gains of a trained table")
        frequency = torch.cat([rows.user_frequency, rows.item_frequency])
        spectrum = Spectrum(gains, frequency, len(rows.user_frequency))
        first = self._sampler(spectrum, budgets[0].typical_cap(budgets[0].plain), min_size)
        users, items = first.tails
        turns = self._turns(first, rows, trains_fresh)
        return samplers_within(turns, budgets), GroupPredictor(users.features, items.features, rows.width)

    def _sampler(self, spectrum: Spectrum, cap: int, min_size: int) -> SpectralSampler:
        return SpectralSampler(spectrum, cap, min_size)

    def _turns(self, sampler: SpectralSampler, rows: Rows, trains_fresh: bool) -> list[CappedSampler]:
        return _with_even_turns([sampler], sampler) if trains_fresh else [sampler]


class EvenFamily(SpectralFamily):
    """Two whole numbers, one for users and one for items: only the users' share is searched."""

    def gains(self, network: Backbone, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return the energy: see :meth:`Family.gains`."""
        return cast(KnowsEnergy, network).energy()

    def _sampler(self, spectrum: Spectrum, cap: int, min_size: int) -> SpectralSampler:
        return SpectralSampler(spectrum, cap, min_size, even=True)

    def _turns(self, sampler: SpectralSampler, rows: Rows, trains_fresh: bool) -> list[CappedSampler]:
        return [sampler]


class MixedFamily(SpectralFamily):
    """Takes turns between spectral actions and the paper's.

    Args:
        realization: How the paper's actions follow from a distribution.
    """

    def __init__(self, realization: Realization = "quantile") -> None:
        self.realization: Realization = realization

    def _turns(self, sampler: SpectralSampler, rows: Rows, trains_fresh: bool) -> list[CappedSampler]:
        counts = len(rows.user_frequency), len(rows.item_frequency)
        bounded = BoundedSampler(*counts, sampler.cap, rows.width, sampler.min_size, self.realization)
        both: list[CappedSampler] = [sampler, GroupedSampler(bounded, rows.orders, sampler.tails)]
        return _with_even_turns(both, sampler) if trains_fresh else both


def _with_even_turns(turns: Sequence[CappedSampler], sampler: SpectralSampler) -> list[CappedSampler]:
    return [*turns] * (_EVEN_EVERY - 1) + [sampler.evenly()]
