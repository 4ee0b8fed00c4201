"""What a search takes over from an earlier run: its full table and, where there is one, its search."""

import pickle
from collections.abc import Mapping
from typing import Any

import torch

from bet_lightning.backbones import Backbone
from bet_lightning.search import BudgetedSearch

_NOT_A_CHECKPOINT = (OSError, EOFError, RuntimeError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


def load_full_table(network: Backbone, path: str) -> Mapping[str, Any] | None:
    """Give a backbone the weights of an earlier run's full table.

    Args:
        network: The backbone.
        path: ``full.ckpt`` of a run, or its ``last.ckpt``, in which the search is too.

    Returns:
        The state of that search, if there is one.

    Raises:
        ValueError: If the file is not a checkpoint of the same backbone on the same data.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        plan = _plan_of(checkpoint)
        weights = plan.get("pretrained") or {
            name.removeprefix("backbone."): value for name, value in checkpoint["state_dict"].items()
        }
        network.load_state_dict(weights)
    except _NOT_A_CHECKPOINT as error:
        raise ValueError(f"{path}: not a checkpoint of this backbone on this data ({error})") from None
    search: Mapping[str, Any] | None = plan.get("search")
    return search


def continue_search(search: BudgetedSearch, state: Mapping[str, Any], path: str) -> None:
    """Let a search go on from what an earlier one measured and learned, whatever its budgets were.

    Args:
        search: The search; changed.
        state: State of the earlier one.
        path: Where it is from, for the message.

    Raises:
        ValueError: If that was a search of another family or on other data.
    """
    try:
        search.go_on_from(state)
    except _NOT_A_CHECKPOINT as error:
        raise ValueError(f"{path}: its search was of another family or data ({error})") from None


def _plan_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan of a run's search, empty where the checkpoint has none."""
    for name, state in checkpoint.get("callbacks", {}).items():
        if name.startswith("TableSearch") and state:
            plan: Mapping[str, Any] = state["plan"]
            return plan
    return {}
