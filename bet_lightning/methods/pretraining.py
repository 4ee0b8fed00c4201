"""The training of the full table, or the validation of an earlier run's."""

from __future__ import annotations

from dataclasses import replace

from bet_lightning.checkpoints import check_weights, read_run
from bet_lightning.methods.base import Problem
from bet_lightning.methods.bet.settings import PretrainSettings
from bet_lightning.methods.tasks import Task


def pretraining(problem: Problem, settings: PretrainSettings, *, turned: bool = False) -> Task:
    """Return the training of the full table, which takes no epoch where an earlier run's is taken.

    Args:
        problem: Has the backbone.
        settings: How it is trained.
        turned: Whether its columns are then turned so that the first carry most of the scores, where they can be.

    Raises:
        ValueError: If the earlier run was of another backbone or other data.
    """
    task = problem.full_task(settings, turned=turned)
    if not settings.checkpoint:
        return task
    earlier = read_run(settings.checkpoint, problem.network)
    weights = earlier.method_state.get("pretrained", earlier.weights)
    check_weights(problem.network, weights, settings.checkpoint)
    return replace(task, epochs=replace(settings, max_epochs=0), weights=weights)
