"""The training of the full table, or the validation of an earlier run's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bet_lightning.backbones import HasKeptForm
from bet_lightning.checkpoints import EarlierRun, check_weights, read_run
from bet_lightning.methods.base import Problem
from bet_lightning.methods.tasks import Epochs, Task


@dataclass(frozen=True)
class PretrainSettings(Epochs):
    """How the full table is trained.

    Args:
        checkpoint: Checkpoint of an earlier run to go on from instead: ``full.ckpt`` is its full table; with
            ``last.ckpt`` its search goes on too, for these budgets.
    """

    max_epochs: int = 100
    checkpoint: str | None = None


def pretraining(
    problem: Problem, settings: PretrainSettings, *, turned: bool = False
) -> tuple[Task, EarlierRun | None]:
    """Return the training of the full table, which takes no epoch where an earlier run's is taken, and that run.

    Args:
        problem: Has the backbone, which is left with the earlier run's weights.
        settings: How it is trained.
        turned: Whether its columns are then turned so that the first carry most of the scores, where they can be.

    Raises:
        ValueError: If the earlier run was of another backbone or other data, or kept another form of the table.
    """
    task, network = problem.full_task(settings, turned=turned), problem.network
    if not settings.checkpoint:
        return task, None
    earlier = read_run(settings.checkpoint, network).of_form(problem.kept)
    weights = earlier.method_state.get("pretrained", earlier.weights)
    network.use_masked_tables()
    check_weights(network, weights, settings.checkpoint)
    forms = network.kept_forms if isinstance(network, HasKeptForm) else {}
    if problem.kept == "table" and forms.get("table", network.rebuilds_rows) != network.rebuilds_rows:
        raise ValueError(f"{settings.checkpoint}: holds final vectors, no table: model.backbone.keeps vectors")
    return replace(task, epochs=replace(settings, max_epochs=0), weights=weights), earlier
