"""What a search takes over from an earlier run: its full table and, where there is one, its search."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.callbacks.new_plan import new_search
from bet_lightning.checkpoint_io import UNREADABLE
from bet_lightning.data import DataSplit
from bet_lightning.search import BudgetedSearch


class EarlierSearch(NamedTuple):
    """What an earlier search found.

    Attributes:
        state: State of its ``BudgetedSearch``.
        gains: (num_rows, row_width) float32 what parameters were worth to it, if it asked.
    """

    state: Mapping[str, Any]
    gains: Tensor | None


def load_full_table(network: Backbone, path: str) -> EarlierSearch | None:
    """Give a backbone the weights of an earlier run's full table.

    Args:
        network: The backbone.
        path: ``full.ckpt`` of a run, or its ``last.ckpt``, in which the search is too.

    Returns:
        That search, if there is one.

    Raises:
        ValueError: If the file is not a checkpoint of the same backbone on the same data.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        run = _state_of(checkpoint)
        plan = run.get("plan", {})
        weights = plan.get("pretrained") or {
            name.removeprefix("backbone."): value for name, value in checkpoint["state_dict"].items()
        }
        network.load_state_dict(weights)
        return EarlierSearch(plan["search"], run["gains"]) if plan.get("search") else None
    except UNREADABLE as error:
        raise ValueError(f"{path}: not a checkpoint of this backbone on this data ({error})") from None


def continue_search(
    earlier: EarlierSearch, path: str, data: DataSplit, settings: Mapping[str, Any]
) -> tuple[BudgetedSearch, Tensor | None]:
    """Go on from what an earlier search measured and learned, whatever its budgets were.

    Args:
        earlier: The earlier search.
        path: Where it is from, for messages.
        data: The split data.
        settings: Keyword arguments of ``new_search``.

    Returns:
        The search, and its gains.

    Raises:
        ValueError: If it was a search of another family or on other data.
    """
    try:
        if (earlier.gains is None) != (settings["family"] == "paper"):
            raise LookupError("no gains" if earlier.gains is None else "gains")
        search = new_search(data, earlier.gains, **settings)
        search.go_on_from(earlier.state)
    except UNREADABLE as error:
        raise ValueError(f"{path}: its search was of another family or data ({error})") from None
    return search, earlier.gains


def _state_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of a run's ``TableSearch``, empty where the checkpoint has none."""
    states: Mapping[str, Mapping[str, Any]] = checkpoint.get("callbacks", {})
    return next((state for name, state in states.items() if name.startswith("TableSearch") and state), {})
