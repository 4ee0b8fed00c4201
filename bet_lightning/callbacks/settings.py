"""Checks of what a user can set of a search."""

from collections.abc import Mapping, Sequence
from typing import Any

from bet_lightning.search import BET, FULL

PLAN_SETTINGS = (  # what ``TrainingPlan`` is told
    *("num_iterations", "probe_epochs", "num_tuned", "tune_epochs", "num_retrain", "retrain_init"),
    *("retrain_parallel", "max_epochs", "eval_every_n_epochs", "patience"),
)
SEARCH_SETTINGS = (  # what ``new_search`` is told
    *("family", "realization", "num_candidates", "num_updates", "selection", "num_random"),
)

_WITHOUT_TRAINING = {"probe_epochs": 0, "refit_steps": 5}

_SMALLEST = {
    **{
        name: 0
        for name in (
            "num_iterations",
            "num_random",
            "num_updates",
            "probe_epochs",
            "num_tuned",
            "refit_steps",
            "max_epochs",
            "min_size",
        )
    },
    **{name: 1 for name in ("num_candidates", "tune_epochs", "num_retrain")},
    **{name: 1 for name in ("eval_every_n_epochs", "patience")},
}


def complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``TableSearch`` with what is left to the family filled in.

    Raises:
        ValueError: If one is out of range.
    """
    usual = {"probe_epochs": 1, "refit_steps": 0} if settings["family"] == "paper" else _WITHOUT_TRAINING
    settings = {**settings, **{name: value for name, value in usual.items() if settings[name] is None}}
    for name, low in _SMALLEST.items():
        if settings[name] < low:
            raise ValueError(f"TableSearch.{name} must be at least {low}, got {settings[name]}")
    if not 0 < settings["probe_user_share"] <= 1:
        raise ValueError(f"TableSearch.probe_user_share must be in (0, 1], got {settings['probe_user_share']}")
    if settings["max_epochs"] == 0 and (settings["retrain_init"] != "warm" or not settings["pretrained"]):
        raise ValueError("TableSearch.max_epochs 0 needs a pretrained table and retrain_init warm")
    if settings["min_size"] > 1:
        raise ValueError(f"TableSearch.min_size must be 0 or 1, got {settings['min_size']}")
    return settings


def settings_to_serve(num_probes: int, num_epochs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What plan and search of a finished run are told when they go on to further budgets.

    Args:
        num_probes: Probes, of all of them together.
        num_epochs: Epochs of warm retraining.
    """
    plan = {
        **{"num_iterations": num_probes, "num_tuned": 0, "num_retrain": 1, "retrain_init": "warm"},
        **{"max_epochs": num_epochs, "eval_every_n_epochs": 1},
    }
    return plan, {"num_random": 0, "selection": "greedy", "even_too": False}


def check_names(names: Sequence[str]) -> None:
    """Refuse names of rivals that would be mixed up, with each other or with what else is in a run folder.

    Raises:
        ValueError: If there is such a name.
    """
    taken = (FULL, BET, "best", "last")
    wrong = [name for name in names if name in taken or name.endswith(("_fresh", "_warm")) or "@" in name]
    if len(set(names)) < len(names) or wrong:
        raise ValueError(
            "TableSearch.rivals need different names, not full, bet, best, last, *_fresh, *_warm or *@*, "
            f"got {list(names)}"
        )
