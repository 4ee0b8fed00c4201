"""What the budgets of a fit resolve to, for every form that its backbone's table may be kept in."""

from collections.abc import Mapping, Sequence
from functools import cache, partial

from bet_lightning.backbones import Backbone, HasKeptForm, KeptForm
from bet_lightning.budget import Budget, largest_first
from bet_lightning.data import DataSplit
from bet_lightning.deploy.packing import bytes_beside
from bet_lightning.methods.base import BudgetsByForm, Method
from bet_lightning.resolved_budget import ResolvedBudget


def resolve_by_form(budgets: Sequence[Budget], method: Method, network: Backbone, data: DataSplit) -> BudgetsByForm:
    """Resolve budgets for what they may be spent on.

    What is served beside a table depends on its form, so that one budget may be enough for one form and not for
    another. A budget that covers the table alone is spent on it as it is trained.

    Args:
        budgets: The budgets.
        method: What fits the table.
        network: The backbone.
        data: The split data.

    Raises:
        ValueError: If a budget can be met in no form, or two are the same.
    """
    own: Mapping[KeptForm, bool] = {"table": network.rebuilds_rows}
    forms = network.kept_forms if isinstance(network, HasKeptForm) else own
    first = next(iter(forms))
    resolved: dict[KeptForm, tuple[ResolvedBudget, ...]] = {}
    refused: dict[Budget, ValueError] = {}
    for form, rebuilds_rows in forms.items() if method.chooses_form else ((first, forms[first]),):
        beside = cache(partial(bytes_beside, network, data, rebuilds_rows))  # it packs the graph
        smallest = method.min_size(network, rebuilds_rows)
        met: list[ResolvedBudget] = []
        for budget in budgets:
            if form == first or budget.covers != "table":
                try:
                    met.append(budget.resolve(network.shape, smallest, beside))
                except ValueError as error:
                    refused[budget] = error
        if met:
            resolved[form] = largest_first(met)
    names = {budget.name for each in resolved.values() for budget in each}
    for budget, reason in refused.items():
        if budget.name not in names:
            raise reason
    return resolved


def each_once(budgets: BudgetsByForm) -> list[ResolvedBudget]:
    """Return every budget once, in the first form that meets it, the largest first."""
    found = {budget.name: budget for each in reversed(list(budgets.values())) for budget in each}
    return sorted(found.values(), key=lambda budget: (-budget.bytes - budget.beside, -budget.params))
