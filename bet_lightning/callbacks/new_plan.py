"""The search and the plan of a run, from its settings and its data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.baselines import SizeRule
from bet_lightning.budget import Budget
from bet_lightning.data import DataSplit
from bet_lightning.search import (
    BET,
    BoundedSampler,
    BudgetedSearch,
    FitnessPredictor,
    GroupedSampler,
    PopularityProfile,
    Realization,
    Sampler,
    SpectralPredictor,
    SpectralSampler,
    Spectrum,
    TrainingPlan,
    popularity_order,
)

Family = Literal["paper", "spectral", "uniform", "mixed"]


def profiles(data: DataSplit) -> tuple[PopularityProfile, PopularityProfile]:
    """Popularity of users and of items in the training interactions."""
    user, item = _frequencies(data)
    return PopularityProfile.from_frequency(user), PopularityProfile.from_frequency(item)


def find_gains(network: Backbone, family: Family, cap: int, min_size: int, refit_steps: int) -> Tensor | None:
    """What each parameter of a pre-trained table is worth to a family.

    Args:
        network: The backbone with its full pre-trained table.
        family: Which actions there are.
        cap: About how many parameters will be kept.
        min_size: Smallest size of a row.
        refit_steps: Steps by which cut tables make up for what is cut.

    Returns:
        (num_rows, row_width) float32, or None where popularity alone counts.
    """
    if family == "paper":
        return None
    if family == "uniform":
        return network.energy()
    return network.gains(cap, min_size, refit_steps)


def new_search(
    data: DataSplit,
    gains: Tensor | None,
    *,
    family: Family,
    caps: Sequence[int],
    width: int,
    min_size: int,
    realization: Realization,
    even_too: bool = False,
    **settings: Any,
) -> BudgetedSearch:
    """Build samplers, predictor and search.

    Args:
        data: The split data.
        gains: What ``find_gains`` found.
        family: Which actions there are.
        caps: The budgets in parameters.
        width: Largest size of a row.
        min_size: Smallest size of a row.
        realization: How the paper's candidates follow from a distribution.
        even_too: Have every fourth spectral iteration draw two whole numbers, which are rarely drawn otherwise and
            are often best where weights start fresh.
        settings: Further keyword arguments of ``BudgetedSearch``.
    """
    bounded = BoundedSampler(data.num_users, data.num_items, caps[0], width, min_size, realization)
    if gains is None:
        return BudgetedSearch(
            [bounded.with_cap(cap) for cap in caps], FitnessPredictor(*profiles(data), width), **settings
        )
    frequencies = _frequencies(data)
    spectrum = Spectrum(gains, torch.cat(frequencies), data.num_users)
    first = SpectralSampler(spectrum, caps[0], min_size, uniform=family == "uniform")
    users, items = first.tails
    turns: list[Sampler] = [first]
    if family == "mixed":
        turns.append(GroupedSampler(bounded, [popularity_order(side) for side in frequencies], first.tails))
    if even_too and family != "uniform":
        turns = [*turns, *turns, *turns, first.evenly()]
    samplers = [sampler.with_cap(cap) for sampler in turns for cap in caps]
    return BudgetedSearch(samplers, SpectralPredictor(users.features, items.features, width), **settings)


def resolve_caps(budgets: Sequence[Budget], backbone: Backbone, min_size: int) -> dict[int, str]:
    """The caps of some budgets, and what the names of their results end in.

    Args:
        budgets: Budgets, the first of which needs no ending.
        backbone: Its tables are what is to be kept within them.
        min_size: Smallest size of a row.

    Raises:
        ValueError: If there is no budget, one cannot be met or two are the same.
    """
    num_rows, width, num_tables = backbone.num_rows, backbone.row_width, len(backbone.tables)
    caps = [budget.cap(num_rows, width, min_size=min_size, num_tables=num_tables) for budget in budgets]
    endings = ["", *(f"@{cap / (num_rows * width):.4g}" for cap in caps[1:])]
    if not caps or len(set(caps)) < len(caps) or len(set(endings)) < len(endings):
        raise ValueError(f"TableSearch.budget needs budgets that differ, got {caps} parameters")
    return dict(zip(caps, endings, strict=True))


def new_plan(
    data: DataSplit,
    rules: Sequence[SizeRule],
    *,
    caps: Mapping[int, str],
    width: int,
    min_size: int,
    settings: Mapping[str, Any],
) -> TrainingPlan:
    """Build the plan and the sizes of all rules.

    Args:
        data: The split data.
        rules: Size rules to train beside the search.
        caps: The budgets in parameters, and what the names of their results end in.
        width: Largest size of a row.
        min_size: Smallest size of a row.
        settings: Further keyword arguments of ``TrainingPlan``.
    """
    frequencies = _frequencies(data)
    sizes = [
        (f"{rule.name}{ending}", rule.sizes(*frequencies, cap, width, min_size), cap)
        for cap, ending in caps.items()
        for rule in rules
    ]
    budgets = {cap: f"{BET}{ending}" for cap, ending in caps.items()}
    user_order, item_order = (popularity_order(frequency) for frequency in frequencies)
    return TrainingPlan((user_order, item_order), budgets, sizes, max_size=width, **settings)


def _frequencies(data: DataSplit) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.user_frequency), torch.from_numpy(data.item_frequency)
