"""What the ranks of a search on several devices do together, and what each does alone."""

import functools
import math
import signal
import threading
import zlib
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bet_lightning.modules import RecommenderModule
from bet_lightning.search import BudgetedSearch, TrainingPlan, Trial


def share_data(trainer: pl.Trainer, module: RecommenderModule, shared: bool) -> None:
    """Let the ranks split data, gradients and metrics among them, or each have all of them for itself.

    Args:
        trainer: Between two epochs.
        module: Its metrics are added up over ranks or not.
        shared: Whether the ranks train one table together.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if trainer.world_size == 1 or data.shared == shared:
        return
    data.shared = module.shared = shared
    wrapped = trainer.strategy.model
    if isinstance(wrapped, DistributedDataParallel):
        wrapped.require_backward_grad_sync = wrapped.require_forward_param_sync = shared
    fit_loop = trainer.fit_loop
    # Lightning lets ranks wait for each other before every step, to hear of a SIGTERM
    step = type(fit_loop.epoch_loop)._broadcast_sigterm_tensor if shared else _no_wait
    fit_loop.epoch_loop._broadcast_sigterm_tensor = functools.partial(step, fit_loop.epoch_loop)  # type: ignore[method-assign]
    for loop in (fit_loop, fit_loop.epoch_loop.val_loop):
        loop._combined_loader = None  # the loop then asks for loaders anew, and counts their batches
        loop.setup_data()


def _no_wait(loop: object) -> None:
    """Go on without the other ranks: they meet at the end of the epoch."""


def prepare_ranks(trainer: pl.Trainer) -> None:
    """Fit what Lightning does between ranks to a search.

    A SIGTERM only leaves a note: Lightning's handler would wait for a broadcast in the middle of whatever else ranks
    exchange.
    """
    if trainer.world_size == 1:
        return
    _broadcast_no_buffers(trainer)

    def note(number: int, frame: object) -> None:  # the first rank tells the others at their next step
        trainer._signal_connector.received_sigterm = trainer.is_global_zero

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, note)


def _broadcast_no_buffers(trainer: pl.Trainer) -> None:
    """Leave graph and sizes as they are before a step: they are the same on all ranks, or meant to differ."""
    if isinstance(trainer.strategy.model, DistributedDataParallel):
        trainer.strategy.model.broadcast_buffers = False


def wrap_again(trainer: pl.Trainer) -> None:
    """Average the gradients of parameters, too, that are new since the module was wrapped; on all ranks at once."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy.model = strategy.lightning_module
        strategy.configure_ddp()
        _broadcast_no_buffers(trainer)


def any_rank(trainer: pl.Trainer, condition: bool) -> bool:
    """Whether a condition holds on some rank."""
    return bool(trainer.strategy.reduce_boolean_decision(condition, all=False))


def exchange(trainer: pl.Trainer, plan: TrainingPlan, names: Sequence[str]) -> None:
    """Fill in what the other ranks' trials of the round reached, so that every rank has the same.

    Args:
        trainer: Its strategy carries it.
        plan: Its round is finished on every rank.
        names: The metrics.

    Raises:
        RuntimeError: If the searches of the ranks differ.
    """
    mine = plan.trial
    found = [mine.epoch, mine.best_epoch, mine.seconds, float(mine.failed), float(_checksum(plan.search))]
    found += [metrics.get(name, math.nan) for metrics in (mine.best_metrics, mine.best_probe_metrics) for name in names]
    row = torch.tensor(found, dtype=torch.float64, device=trainer.strategy.root_device)
    rows = trainer.strategy.all_gather(row).cpu()
    if len(rows[:, 4].unique()) > 1:
        raise RuntimeError("the searches of the ranks differ: they did not see the same data or the same fitness")
    for place, trial in enumerate(plan.round):
        if trial is not mine:
            _fill(trial, rows[place], names)
        if not trial.is_probe:
            trial.best_weights = trainer.strategy.broadcast(trial.best_weights, src=place)


def _fill(trial: Trial, row: Tensor, names: Sequence[str]) -> None:
    epoch, best_epoch, seconds, failed, _, *metrics = row.tolist()
    trial.epoch, trial.best_epoch, trial.seconds, trial.failed = int(epoch), int(best_epoch), seconds, bool(failed)
    if not trial.failed:
        trial.best_metrics = dict(zip(names, metrics, strict=False))
        trial.best_probe_metrics = dict(zip(names, metrics[len(names) :], strict=True))


def _checksum(search: BudgetedSearch | None) -> int:
    """A number that differs where population, predictor or chance do."""
    if search is None:
        return 0
    tensors = [search.sampler_generator.get_state(), search.selection_generator.get_state()]
    tensors += [torch.tensor([fitness for _, fitness in search.probed]), *search.predictor.state_dict().values()]
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes(), checksum)
    return checksum
