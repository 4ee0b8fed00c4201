"""One backbone trained epoch by epoch, as the package trains a task, with its validation quality on demand."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bet_lightning.backbones import Backbone, LightGCN
from bet_lightning.data import InteractionDataModule, RankingLoader
from bet_lightning.methods.tasks import Epochs, Task
from bet_lightning.objectives import BPR, Objective
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.schedule import LRSchedule
from bet_lightning.training import Trial, train_epoch
from bet_lightning.training.loop import epoch_seed
from tests.benchmarks.data import edges_of

SEED = 0
FULL = Task("pretrain", "full", Epochs())


def bpr_schedule(data: InteractionDataModule, lr: float = 0.03) -> LRSchedule:
    """The learning rate for BPR, which falls every 200 steps, as in BET's own code."""
    return LRSchedule(lr, 0.95, 200 / len(data.train_dataloader()), 0.001)


class Training:
    """A backbone, its optimiser and its learning rate on one data set.

    Args:
        data: A data module that has been set up; its batch size is that of training.
        max_size: Columns of the table.
        schedule: Learning rate of Adam.
        shares: Shares of the validation users to evaluate on.
        backbone: Makes the backbone from edges and columns.
        objective: The loss.
        l2: Weight of the regulariser.
    """

    def __init__(
        self,
        data: InteractionDataModule,
        max_size: int,
        schedule: LRSchedule,
        shares: Sequence[float] = (1.0,),
        backbone: Callable[..., Backbone] = LightGCN,
        objective: Objective | None = None,
        l2: float = 1e-4,
    ) -> None:
        self.data = data
        network = backbone(edges_of(data.dataset.train), max_size)
        self.recommender = Recommender(network, objective or BPR(), l2, schedule)
        valid = data.dataset.valid
        users = np.random.default_rng(0).permutation(np.flatnonzero(valid.degrees()))
        self.loaders = {
            share: RankingLoader(users[: max(1, int(share * len(users)))], data.dataset.train, valid, 1024)
            for share in shares
        }
        self.begin(FULL)

    @property
    def network(self) -> Backbone:
        """The backbone."""
        return self.recommender.network

    def begin(self, task: Task) -> None:
        """Begin a training: tables, weights and sizes of a task, and a fresh optimiser."""
        Trial(task).begin(self.network, SEED)
        self.batches = self.data.train_dataloader()
        schedule = task.schedule or self.recommender.schedule
        self.optimizer, self.scheduler = make_optimizer(self.network, schedule, lambda: len(self.batches))
        self.epoch = 0

    def train_epoch(self) -> float:
        """Train one epoch and return its seconds."""
        begin = time.perf_counter()
        seed = epoch_seed(SEED, self.epoch)
        torch.manual_seed(seed)
        self.batches.sampler.set_epoch(seed)
        train_epoch(self.recommender, self.batches, self.optimizer, self.scheduler)
        self.epoch += 1
        return time.perf_counter() - begin

    def metrics(self, share: float = 1.0) -> dict[str, float]:
        """Validation metrics by name on a share of the users."""
        return self.recommender.evaluate(self.loaders[share])
