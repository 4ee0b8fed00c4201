"""A table trained in a plain loop: what Lightning's loops do for one task, in sight."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bet_lightning.methods.tasks import Outcome, Task
from bet_lightning.optimizers import pays_by_rows
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.training.trial import Trial

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch, RankingBatch, TripletLoader


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of an epoch's triplets and dropout.

    Every training of a run sees the same, so that only its table sets it apart from others.
    """
    return seed * 100_003 + epoch


def train_task(
    task: Task,
    recommender: Recommender,
    triplets: TripletLoader,
    users: Callable[[float], Iterable[RankingBatch]],
    seed: int = 0,
) -> Outcome:
    """Train a table for some epochs and validate it.

    Args:
        task: What to train.
        recommender: Has the backbone, which is left with the best weights unless the task only measures.
        triplets: Batches of an epoch.
        users: Returns a share of the validation users.
        seed: Seed of fresh weights, triplets and dropout.

    Raises:
        ValueError: If the loss is no number, unless the task only measures.
    """
    trial, network, begin = Trial(task), recommender.network, time.monotonic()
    trial.begin(network, seed)
    schedule = task.schedule or recommender.schedule
    recommender.auxiliary_loss = task.auxiliary_loss
    by_rows = pays_by_rows(network, triplets.sampler.batch_size)
    optimizer, scheduler = make_optimizer(network, schedule, lambda: len(triplets), by_rows)
    if trial.has_untrained_result:
        trial.record(network, recommender.evaluate(users(task.user_share)))
    while not trial.finished:
        torch.manual_seed(epoch_seed(seed, trial.epoch))
        triplets.sampler.set_epoch(epoch_seed(seed, trial.epoch))
        loss = train_epoch(recommender, triplets, optimizer, scheduler)
        if not math.isfinite(loss):
            if not task.measures_only:
                raise ValueError(f"{task.label} diverged: its loss is {loss} in epoch {trial.epoch + 1}")
            trial.fail()
            break
        trial.end_epoch(network, recommender.evaluate(users(task.user_share)) if trial.validates_next else None)
    trial.seconds = time.monotonic() - begin
    return trial.close(network)


def train_epoch(
    recommender: Recommender, batches: Iterable[BPRBatch], optimizer: Optimizer, scheduler: LRScheduler
) -> float:
    """Train one epoch and return its mean loss a batch."""
    network, device = recommender.network, recommender.network.frequency.device
    network.train()
    total, count = torch.zeros((), device=device), 0
    for batch in batches:
        optimizer.zero_grad()
        loss = recommender.loss(type(batch)(*(tensor.to(device) for tensor in batch)))
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.detach()
        count += 1
    return float(total) / max(1, count)
