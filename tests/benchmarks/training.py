"""One backbone trained in a bare loop, epoch by epoch, with its validation quality on demand."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bet_lightning.backbones import Backbone, LightGCN
from bet_lightning.data import InteractionDataModule, RankingLoader
from bet_lightning.modules import LRSchedule, RecommenderModule, SampledSoftmax


class Training:
    """A backbone, its optimiser and its learning rate on one data set.

    Args:
        data: A data module that has been set up; its batch size is that of training.
        max_size: Columns of the table.
        schedule: Learning rate of Adam.
        shares: Shares of the validation users to evaluate on.
        backbone: Makes the backbone from edges and columns.
        softmax: The loss instead of BPR.
        l2: Weight of the regulariser.
    """

    def __init__(
        self,
        data: InteractionDataModule,
        max_size: int,
        schedule: LRSchedule,
        shares: Sequence[float] = (1.0,),
        backbone: Callable[..., Backbone] = LightGCN,
        softmax: SampledSoftmax | None = None,
        l2: float = 1e-4,
    ) -> None:
        self.data, self.schedule = data, schedule
        self.module = RecommenderModule(lambda edges: backbone(edges, max_size), softmax=softmax, l2=l2)
        self.module.build(data.dataset.train)
        valid = data.dataset.valid
        users = np.random.default_rng(0).permutation(np.flatnonzero(valid.degrees()))
        self.loaders = {
            share: RankingLoader(users[: max(1, int(share * len(users)))], data.dataset.train, valid, 1024)
            for share in shares
        }
        self.start(None)

    def start(
        self,
        weights: Mapping[str, Tensor] | None,
        sizes: Tensor | None = None,
        refit_steps: int = 0,
        packed: bool = False,
    ) -> None:
        """Begin a training from a full table, or from the initial one of seed 0, with the sizes of all rows."""
        network = self.module.network
        network.unpack()
        if weights is None:
            network.reset_parameters(torch.Generator().manual_seed(0))
            if sizes is not None:
                network.set_sizes(sizes)
        else:
            network.load_state_dict(weights)
            if sizes is not None:
                network.cut(sizes, refit_steps)
        if packed:
            network.pack()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1.0, fused=True)
        self.epoch, self.steps = 0, itertools.count()

    def train_epoch(self) -> float:
        """Train one epoch and return its seconds."""
        begin = time.perf_counter()
        loader = self.data.train_dataloader()
        loader.sampler.set_epoch(self.epoch)
        self.module.train()
        for batch in loader:
            self.optimizer.param_groups[0]["lr"] = self.schedule(next(self.steps))
            self.optimizer.zero_grad()
            self.module.loss(batch).backward()
            self.optimizer.step()
        self.epoch += 1
        return time.perf_counter() - begin

    def metrics(self, share: float = 1.0) -> dict[str, float]:
        """Validation metrics by name on a share of the users."""
        self.module.eval()
        self.module.on_validation_epoch_start()
        for batch in self.loaders[share]:
            self.module.validation_step(batch, 0)
        return {name: float(value) for name, value in self.module.metrics.compute().items()}
