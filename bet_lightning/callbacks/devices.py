"""Devices, and all that is private in Lightning or DDP: no other file touches either.

Tried with pytorch-lightning 2.6 on torch 2.13; ``tests/callbacks/test_devices.py`` says which of its parts are needed.
"""

import functools
import math
import re
import signal
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Agree, T
from bet_lightning.methods.tasks import Outcome, Round
from bet_lightning.modules import RecommenderModule


def any_rank(trainer: pl.Trainer, condition: bool) -> bool:
    """Whether a condition holds on some rank."""
    return bool(trainer.strategy.reduce_boolean_decision(condition, all=False))


def agreement(trainer: pl.Trainer) -> Agree:
    """Return what gives every rank the first rank's value."""

    def agree(value: T) -> T:
        return trainer.strategy.broadcast(value)

    return agree


def prepare(trainer: pl.Trainer) -> None:
    """Fit what Lightning does between ranks, and when it resumes, to a search.

    A SIGTERM only leaves a note: Lightning's handler would wait for a broadcast in the middle of whatever else ranks
    exchange.
    """
    if trainer.fit_loop.restarted_on_epoch_start:  # by a save between rounds: no batch of the epoch has been trained
        trainer.fit_loop.epoch_loop.restarting = False
    if trainer.world_size == 1:
        return
    _broadcast_no_buffers(trainer)

    def note(number: int, frame: object) -> None:  # the first rank tells the others at their next step
        trainer._signal_connector.received_sigterm = trainer.is_global_zero

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, note)


def leave() -> None:
    """Leave the other ranks, once all is done: threads that still wait for them would abort a process at its end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def holds_columns(network: Backbone) -> bool:
    """Whether this rank holds some columns of the table alone."""
    return network.table().num_ranks > 1


# gloo's errors have no type of their own: they begin with where they arose, except this one, of a later exchange
_GLOO = re.compile(r"(?:\[\S*/gloo/\S*\] *|(?=Application timeout caused pair closure))(.+)")


def share_data(trainer: pl.Trainer, module: RecommenderModule, shared: bool) -> None:
    """Let the ranks split data, gradients and metrics among them, or each have all of them for itself.

    Args:
        trainer: Between two epochs.
        module: Its metrics are added up over ranks or not.
        shared: Whether the ranks train one table together.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if trainer.world_size == 1:
        return
    wanted = shared, holds_columns(module.network)  # with columns of its own a rank needs all triplets
    if (data.shared, data.whole_batches) == wanted:
        return
    module.shared = shared
    data.shared, data.whole_batches = wanted
    wrapped = trainer.strategy.model
    if isinstance(wrapped, DistributedDataParallel):
        wrapped.require_backward_grad_sync = wrapped.require_forward_param_sync = shared
    fit_loop = trainer.fit_loop
    # Lightning lets ranks wait for each other before every step, to hear of a SIGTERM
    step = type(fit_loop.epoch_loop)._broadcast_sigterm_tensor if shared else _no_wait
    fit_loop.epoch_loop._broadcast_sigterm_tensor = functools.partial(step, fit_loop.epoch_loop)  # type: ignore[method-assign]
    if fit_loop._combined_loader is not None:
        fit_loop._combined_loader = None  # the loop then asks for loaders again, and counts their batches
        fit_loop.setup_data()


@contextmanager
def alone(trainer: pl.Trainer, module: RecommenderModule) -> Iterator[None]:
    """Rank all users on every rank for a while, without adding metrics up."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    before = data.shared
    data.shared = module.shared = trainer.world_size == 1
    try:
        yield
    finally:
        data.shared = module.shared = before


def wrap_again(trainer: pl.Trainer, network: Backbone) -> None:
    """Average the gradients of parameters, too, that are new since the module was wrapped; on all ranks at once."""
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy) or strategy.model is None:
        return
    if holds_columns(network):
        strategy.model = strategy.lightning_module  # each rank has parameters of its own
        return
    wrapped = strategy.model
    now = {id(parameter) for parameter in strategy.lightning_module.parameters()}  # type: ignore[union-attr]
    if isinstance(wrapped, DistributedDataParallel) and _known(wrapped) == now:
        return
    strategy.model = strategy.lightning_module
    strategy.configure_ddp()
    _broadcast_no_buffers(trainer)


def exchange(trainer: pl.Trainer, following: Round, mine: Outcome, names: Sequence[str]) -> list[Outcome]:
    """Return the outcomes of all tasks of a round, the same on every rank.

    Args:
        trainer: Its strategy carries it.
        following: The round, which is finished on every rank.
        mine: This rank's outcome.
        names: The metrics.

    Raises:
        RuntimeError: If the rounds of the ranks differ.
    """
    checksum = zlib.crc32(following.key.encode())
    found = [mine.epochs, mine.best_epoch, mine.seconds, float(mine.failed), float(checksum)]
    found += [mine.metrics.get(name, math.nan) for name in names]
    row = torch.tensor(found, dtype=torch.float64, device=trainer.strategy.root_device)
    rows: Tensor = trainer.strategy.all_gather(row).reshape(-1, len(found)).cpu()
    if len(rows[:, 4].unique()) > 1:
        raise RuntimeError("the searches of the ranks differ: they did not see the same data or the same fitness")
    outcomes = []
    for rank, task in enumerate(following.tasks):
        epochs, best_epoch, seconds, failed, _, *metrics = rows[rank].tolist()
        measured = {} if failed else dict(zip(names, metrics, strict=True))
        weights = {} if task.measures_only else trainer.strategy.broadcast(mine.weights, src=rank)
        outcomes.append(Outcome(measured, int(epochs), int(best_epoch), seconds, bool(failed), weights))
    return outcomes


def failed_exchange(error: RuntimeError) -> str | None:
    """Return in one line why ranks could not exchange something, as when one is gone; None for any other error."""
    if found := _GLOO.search(str(error)):
        return found.group(1).partition(". ")[0]
    if torch.distributed.is_available() and isinstance(error, torch.distributed.DistError):
        return str(error).partition("\n")[0]
    return None


def identify_wandb_run(logger: WandbLogger, wanted: Mapping[str, str | None]) -> None:
    """Give a logger's run the id and the name that it has none of yet, which are known only once there is a folder.

    Args:
        logger: Has not begun its run.
        wanted: What to give it, ``id`` and ``name``.
    """
    settings = logger._wandb_init
    settings.update({name: value for name, value in wanted.items() if settings[name] is None})


def _known(wrapped: DistributedDataParallel) -> set[int]:
    """The parameters that a wrapper averages the gradients of."""
    return {id(parameter) for parameter in wrapped._module_parameters}


def _no_wait(loop: object) -> None:
    """Go on without the other ranks: they meet at the end of the epoch."""


def _broadcast_no_buffers(trainer: pl.Trainer) -> None:
    """Leave graph and sizes as they are before a step: they are the same on all ranks, or meant to differ."""
    if isinstance(trainer.strategy.model, DistributedDataParallel):
        trainer.strategy.model.broadcast_buffers = False
