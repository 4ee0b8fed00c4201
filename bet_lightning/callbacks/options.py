"""Options of Lightning's Trainer that would cut a search short."""

from collections.abc import Iterator
from typing import NamedTuple

import pytorch_lightning as pl

_UNSET_EPOCHS = (-1, 1000)  # no limit, and what a Trainer sets where a user says nothing
_CALLBACKS = {  # in the way, by name
    **dict.fromkeys(("EarlyStopping", "Timer"), "patience of search.method.pretrain and .retrain ends a training"),
    **dict.fromkeys(("StochasticWeightAveraging", "WeightAveraging"), "a result has its best epoch's weights"),
    "ModelPruning": "the method cuts tables; MagnitudePruning is one",
    "BaseFinetuning": "the method says what is trained",
    "LearningRateFinder": "model.schedule.lr is the learning rate",
    "BatchSizeFinder": "data.batch_size is the same in all trainings",
    "GradientAccumulationScheduler": "its epochs are the run's, not a training's: take trainer.accumulate_grad_batches",
}
_PHASES = "search.method.pretrain and .retrain say how long a training takes"


class _Obstacle(NamedTuple):
    """An option that is in the way.

    Attributes:
        option: Its name.
        value: Its value.
        instead: What a user can do.
    """

    option: str
    value: object
    instead: str


def check_options(trainer: pl.Trainer) -> None:
    """Refuse options with which a run would end before its results, or without any.

    Args:
        trainer: The trainer, before its loops begin.

    Raises:
        ValueError: If an option is in the way.
    """
    for option, value, instead in _obstacles(trainer):
        raise ValueError(f"trainer.{option} {value} is in the way of a search: {instead}")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for kind in type(callback).__mro__:
            if kind.__name__ in _CALLBACKS:
                name, instead = type(callback).__name__, _CALLBACKS[kind.__name__]
                raise ValueError(f"trainer.callbacks {name} is in the way of a search: {instead}")


def _obstacles(trainer: pl.Trainer) -> Iterator[_Obstacle]:
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        yield _Obstacle("fast_dev_run", trainer.fast_dev_run, "it ends before there is a result")  # type: ignore[attr-defined]
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        yield _Obstacle("overfit_batches", trainer.overfit_batches, "validation would rank what is trained")  # type: ignore[attr-defined]
    if trainer.max_epochs not in _UNSET_EPOCHS:
        yield _Obstacle("max_epochs", trainer.max_epochs, _PHASES)
    if trainer.max_steps != -1:
        yield _Obstacle("max_steps", trainer.max_steps, _PHASES)
    for option, value in (("min_steps", trainer.min_steps or 0), ("min_epochs", trainer.min_epochs or 0)):
        if value > 0:
            yield _Obstacle(option, value, "the run ends with the method's last training")
    if trainer.limit_val_batches != 1 or isinstance(trainer.limit_val_batches, int):  # 1 is one batch, 1.0 all
        yield _Obstacle("limit_val_batches", trainer.limit_val_batches, "search.method.probe.user_share is for probes")
    if trainer.limit_train_batches == 0:
        yield _Obstacle("limit_train_batches", 0, "nothing would be trained")
    if trainer.accumulate_grad_batches < 1:
        yield _Obstacle("accumulate_grad_batches", trainer.accumulate_grad_batches, "there would be no step")
    if (clip := trainer.gradient_clip_val) is not None and not clip >= 0:
        yield _Obstacle("gradient_clip_val", clip, "gradients have no such norm")
    if trainer.check_val_every_n_epoch != 1:
        instead = "eval_every_n_epochs of search.method.pretrain and .retrain"
        yield _Obstacle("check_val_every_n_epoch", trainer.check_val_every_n_epoch, instead)
    if trainer.val_check_interval not in (1, 1.0, None):
        yield _Obstacle("val_check_interval", trainer.val_check_interval, "a training is validated between epochs")
    precision = str(trainer.precision)
    if precision.endswith("-true") and precision != "32-true":
        yield _Obstacle("precision", precision, "tables are trained in float32; take a mixed precision")
