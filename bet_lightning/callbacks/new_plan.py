"""The plan of a run, from its settings and its data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bet_lightning.baselines import SizeRule
from bet_lightning.data import DataSplit
from bet_lightning.search import (
    BoundedSampler,
    BudgetedSearch,
    FitnessPredictor,
    PopularityProfile,
    Realization,
    TrainingPlan,
    popularity_order,
)


def profiles(data: DataSplit) -> tuple[PopularityProfile, PopularityProfile]:
    """Popularity of users and of items in the training interactions."""
    user, item = (torch.from_numpy(frequency) for frequency in (data.user_frequency, data.item_frequency))
    return PopularityProfile.from_frequency(user), PopularityProfile.from_frequency(item)


def new_plan(
    data: DataSplit,
    rules: Sequence[SizeRule],
    *,
    cap: int,
    width: int,
    min_size: int,
    realization: Realization,
    search: Mapping[str, Any],
    plan: Mapping[str, Any],
) -> TrainingPlan:
    """Build sampler, predictor, search and the sizes of all rules.

    Args:
        data: The split data.
        rules: Size rules to train beside the search.
        cap: The budget in parameters.
        width: Largest size of a row.
        min_size: Smallest size of a row.
        realization: How candidates follow from a distribution.
        search: Keyword arguments of ``BudgetedSearch``.
        plan: Keyword arguments of ``TrainingPlan``.
    """
    frequencies = torch.from_numpy(data.user_frequency), torch.from_numpy(data.item_frequency)
    sampler = BoundedSampler(data.num_users, data.num_items, cap, width, min_size, realization)
    predictor = FitnessPredictor(*profiles(data), width)
    sizes = [(rule.name, rule.sizes(*frequencies, cap, width, min_size)) for rule in rules]
    user_order, item_order = (popularity_order(frequency) for frequency in frequencies)
    return TrainingPlan(BudgetedSearch(sampler, predictor, **search), (user_order, item_order), sizes, **plan)
