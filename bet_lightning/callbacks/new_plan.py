"""The search and the plan of a run, from its settings and its data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.baselines import SizeRule
from bet_lightning.data import DataSplit
from bet_lightning.search import (
    BoundedSampler,
    BudgetedSearch,
    FitnessPredictor,
    PopularityProfile,
    Realization,
    SpectralPredictor,
    SpectralSampler,
    Spectrum,
    TrainingPlan,
    popularity_order,
)

Family = Literal["paper", "spectral", "uniform"]


def profiles(data: DataSplit) -> tuple[PopularityProfile, PopularityProfile]:
    """Popularity of users and of items in the training interactions."""
    user, item = _frequencies(data)
    return PopularityProfile.from_frequency(user), PopularityProfile.from_frequency(item)


def new_search(
    data: DataSplit,
    network: Backbone,
    *,
    family: Family,
    cap: int,
    min_size: int,
    realization: Realization,
    **settings: Any,
) -> BudgetedSearch:
    """Build sampler, predictor and search for a pre-trained backbone.

    Args:
        data: The split data.
        network: The backbone with its full pre-trained table.
        family: Which actions there are.
        cap: The budget in parameters.
        min_size: Smallest size of a row.
        realization: How the paper's candidates follow from a distribution.
        settings: Further keyword arguments of ``BudgetedSearch``.
    """
    width = network.row_width
    if family == "paper":
        bounded = BoundedSampler(data.num_users, data.num_items, cap, width, min_size, realization)
        return BudgetedSearch(bounded, FitnessPredictor(*profiles(data), width), **settings)
    frequency = torch.cat(_frequencies(data))
    uniform = family == "uniform"
    energy = _flat_energy(frequency, width) if uniform else network.energy()
    spectrum = Spectrum(energy, frequency, data.num_users)
    sampler = SpectralSampler(spectrum, cap, min_size, max_exponent=0.0 if uniform else 2.0, name=family)
    users, items = sampler.tails
    return BudgetedSearch(sampler, SpectralPredictor(users.features, items.features, width), **settings)


def new_plan(
    data: DataSplit, rules: Sequence[SizeRule], *, cap: int, width: int, min_size: int, settings: Mapping[str, Any]
) -> TrainingPlan:
    """Build the plan and the sizes of all rules.

    Args:
        data: The split data.
        rules: Size rules to train beside the search.
        cap: The budget in parameters.
        width: Largest size of a row.
        min_size: Smallest size of a row.
        settings: Further keyword arguments of ``TrainingPlan``.
    """
    frequencies = _frequencies(data)
    sizes = [(rule.name, rule.sizes(*frequencies, cap, width, min_size)) for rule in rules]
    user_order, item_order = (popularity_order(frequency) for frequency in frequencies)
    return TrainingPlan((user_order, item_order), sizes, max_size=width, **settings)


def _frequencies(data: DataSplit) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.user_frequency), torch.from_numpy(data.item_frequency)


def _flat_energy(frequency: Tensor, width: int) -> Tensor:
    """Gains that fill column after column, within one by popularity: equal sizes on each side."""
    return torch.arange(width, 0, -1) + frequency[:, None] / (2 * frequency.max().clamp(min=1))
