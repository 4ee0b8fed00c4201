"""One task while it is trained: how it starts, when it is validated, when it is over, and the best that it reached."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.methods.tasks import Outcome, Task, generator_of
from bet_lightning.ranking import quality


class Trial:
    """A task in progress, until its epochs or its patience run out.

    Args:
        task: What is trained.

    Attributes:
        epoch: Epochs done.
        seconds: Seconds spent so far.
        failed: Whether its loss left the numbers, so that it measured nothing.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.epoch = 0
        self.seconds = 0.0
        self.failed = False
        self._stopped = False
        self._waited = 0  # validations since the best
        self._best_epoch = 0
        self._best_metrics: dict[str, float] = {}
        self._best_weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def begin(self, network: Backbone, seed: int) -> None:
        """Give the backbone the task's tables, weights and sizes: the one place where a budget is enforced on a model.

        Args:
            network: The backbone; afterwards it has parameters that an optimiser is yet to be given.
            seed: Seed of fresh weights.

        Raises:
            ValueError: If the tables exceed the budget.
        """
        task = self.task
        if task.tables is None:
            network.use_masked_tables()
        else:
            network.use_tables([copy.deepcopy(table) for table in task.tables])
        if task.weights is None:
            network.reset_parameters(generator_of(seed))
        else:
            network.load_state_dict(task.weights)
        if task.allocation is not None:
            if task.weights is None:
                network.set_sizes(task.allocation.sizes)
                network.quantize(task.dtype)
            else:
                network.cut(task.allocation.sizes, task.refit, task.dtype)
        elif task.tables is None and task.weights is None:
            network.set_sizes(torch.full((network.num_rows,), network.row_width))
        if task.budget is not None:
            task.budget.check(network.num_used, task.num_bytes(network))
        self.store(network)

    def store(self, network: Backbone) -> None:
        """Hold the tables as the task asks for."""
        if self.task.storage == "packed" and self.task.tables is None:
            network.pack()

    @property
    def has_untrained_result(self) -> bool:
        """Whether its weights are to be validated before any training: a cut table may be at its best as it is."""
        starts_warm = self.task.weights is not None and not self.task.measures_only
        untrained = self.task.epochs.max_epochs == 0 or starts_warm
        return untrained and self.epoch == 0 and not self._best_metrics and not self.failed

    @property
    def validates_next(self) -> bool:
        """Whether the coming epoch ends with a validation."""
        following, epochs = self.epoch + 1, self.task.epochs
        return following % epochs.eval_every_n_epochs == 0 or following >= epochs.max_epochs

    @property
    def finished(self) -> bool:
        """Whether the training is over."""
        epochs = self.task.epochs
        return self.failed or self._stopped or self.epoch >= epochs.max_epochs or self._waited >= epochs.patience

    def end_epoch(self, network: Backbone, metrics: Mapping[str, float] | None) -> None:
        """Count an epoch, with its validation where it had one.

        Args:
            network: What was trained.
            metrics: ``recall@k`` and ``ndcg@k`` by name; None without a validation.
        """
        self.epoch += 1
        if metrics is not None:
            self.record(network, metrics)
        network.end_epoch()
        self._stopped = self.task.stop is not None and self.task.stop(network)

    def record(self, network: Backbone, metrics: Mapping[str, float]) -> None:
        """Take the result of a validation after the current epoch; unless it only measures, keep the best weights."""
        is_last = self.task.keep == "last"
        if self._best_metrics and quality(metrics) <= quality(self._best_metrics) and not is_last:
            self._waited += 1
            return
        self._waited = 0
        self._best_epoch = self.epoch
        self._best_metrics = dict(metrics)
        if not self.task.measures_only:
            self._keep_weights(network)

    @torch.no_grad()
    def close(self, network: Backbone) -> Outcome:
        """Return what it reached, with the weights changed into what the task wants to keep.

        Args:
            network: What was trained; it is left with the best weights where the task keeps any.
        """
        if self._best_weights:
            if self.task.tables is None:
                network.use_masked_tables(self.task.dtype)  # results hold masked tables
            network.load_state_dict(self._best_weights)
            if self.task.finish is not None:
                self.task.finish(network)
            self._keep_weights(network)
        return self.outcome

    def _keep_weights(self, network: Backbone) -> None:
        self._best_weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def fail(self) -> None:
        """End it without a result."""
        self.failed = True
        self._best_metrics = {}

    @property
    def outcome(self) -> Outcome:
        """What it reached so far."""
        return Outcome(self._best_metrics, self.epoch, self._best_epoch, self.seconds, self.failed, self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return all but the task, as tensors and plain values."""
        return {name: value for name, value in vars(self).items() if name != "task"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        vars(self).update(state)
