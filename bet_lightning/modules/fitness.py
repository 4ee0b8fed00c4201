"""The LightningModule that trains the fitness predictor, and its data: a search's actions."""

from collections.abc import Iterator
from pathlib import Path


import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from bet_lightning.results import read_actions, read_popularity
from bet_lightning.search import ActionFitness, FitnessPredictor
from bet_lightning.search.training import fitness_loss, fitness_optimizer, spearman


class FitnessPredictorModule(pl.LightningModule):
    """Trains a fitness predictor on (action, fitness) pairs.

    The search trains its own predictor as it goes, with the same loss and optimiser; this module is for what comes
    after: fitting one to a finished search, comparing settings.

    Args:
        element_width: Width of the element encoders.
        set_width: Width of the set encoder and the head.
        lr: First learning rate.
        lr_decay: Factor a step.
        min_lr: Smallest learning rate.
    """

    predictor: FitnessPredictor | None

    def __init__(
        self,
        element_width: int = 16,
        set_width: int = 64,
        lr: float = 0.01,
        lr_decay: float = 0.99,
        min_lr: float = 0.001,
    ) -> None:
        super().__init__()
        self.element_width, self.set_width = element_width, set_width
        self.lr, self.lr_decay, self.min_lr = lr, lr_decay, min_lr
        self.predictor = None
        self.predicted: list[Tensor] = []
        self.measured: list[Tensor] = []

    @property
    def network(self) -> FitnessPredictor:
        """The predictor, once it is built."""
        if self.predictor is None:
            raise RuntimeError("the predictor is built when the module meets its data")
        return self.predictor

    def configure_model(self) -> None:
        """Build the predictor for the data module's rows and sizes."""
        if self.predictor is None:
            data: ActionsDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
            users, items = data.profiles
            self.predictor = FitnessPredictor(users, items, data.max_size, self.element_width, self.set_width)

    def training_step(self, batch: ActionFitness, batch_idx: int) -> Tensor:
        """Mean squared error."""
        loss = fitness_loss(self.network, batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.fitness))
        return loss

    def _collect(self, batch: ActionFitness) -> None:
        self.predicted.append(self.network(batch.user_counts, batch.item_counts))
        self.measured.append(batch.fitness)

    def _log_collected(self, stage: str) -> None:
        predicted, measured = torch.cat(self.predicted), torch.cat(self.measured)
        self.predicted.clear()
        self.measured.clear()
        self.log(f"{stage}/mse", torch.nn.functional.mse_loss(predicted, measured))
        self.log(f"{stage}/spearman", spearman(predicted.tolist(), measured.tolist()))

    def validation_step(self, batch: ActionFitness, batch_idx: int) -> None:
        """Predict the held-out actions."""
        self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/mse`` and the rank correlation ``val/spearman``."""
        self._log_collected("val")

    def test_step(self, batch: ActionFitness, batch_idx: int) -> None:
        """Predict all actions."""
        self._collect(batch)

    def on_test_epoch_end(self) -> None:
        """Log ``test/mse`` and ``test/spearman``."""
        self._log_collected("test")

    def predict_step(self, batch: ActionFitness, batch_idx: int) -> Tensor:
        """Predicted fitness (b,)."""
        predicted: Tensor = self.network(batch.user_counts, batch.item_counts)
        return predicted

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a geometric decay a step."""
        optimizer, scheduler = fitness_optimizer(self.network, self.lr, self.lr_decay, self.min_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class PairLoader:
    """Batches of (action, fitness) pairs, in a new order every epoch if shuffled.

    Args:
        pairs: The pairs.
        batch_size: Pairs a batch.
        seed: Seed of the order; None keeps the order given.
    """

    def __init__(self, pairs: ActionFitness, batch_size: int, seed: int | None = None) -> None:
        self.pairs, self.batch_size, self.seed, self.epoch = pairs, batch_size, seed, 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.pairs.fitness) // self.batch_size)

    def __iter__(self) -> Iterator[ActionFitness]:
        """Give the batches."""
        order = torch.arange(len(self.pairs.fitness))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(order), generator=generator)
        for rows in order.split(self.batch_size):
            yield ActionFitness(*(column[rows] for column in self.pairs))


class ActionsDataModule(pl.LightningDataModule):
    """The probed actions of a run, for ``FitnessPredictorModule``.

    Args:
        path: The ``actions.jsonl`` of a run folder; ``popularity.json`` lies beside it.
        valid_ratio: Share of the actions held out for validation.
        batch_size: Actions a batch.
        seed: Seed of the split and the order.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, path: str, valid_ratio: float = 0.2, batch_size: int = 16, seed: int = 0) -> None:
        super().__init__()
        if not 0 < valid_ratio < 1:
            raise ValueError(f"data.valid_ratio must be in (0, 1), got {valid_ratio}")
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        self.path, self.valid_ratio, self.batch_size, self.seed = path, valid_ratio, batch_size, seed

    def setup(self, stage: str) -> None:
        """Read and split the actions.

        Raises:
            ValueError: If there are fewer than two actions or a line is not an action.
        """
        actions, fitness = read_actions(Path(self.path))
        if len(actions) < 2:
            raise ValueError(f"{self.path}: at least 2 actions are needed, found {len(actions)}")
        self.profiles = read_popularity(Path(self.path).parent)
        self.pairs = ActionFitness.from_pairs(actions, fitness)
        self.max_size = self.pairs.user_counts.shape[1]
        order = torch.randperm(len(actions), generator=torch.Generator().manual_seed(self.seed))
        held_out = min(max(1, round(self.valid_ratio * len(actions))), len(actions) - 1)
        self.valid = ActionFitness(*(column[order[:held_out]] for column in self.pairs))
        self.train = ActionFitness(*(column[order[held_out:]] for column in self.pairs))

    def train_dataloader(self) -> PairLoader:
        """Shuffled batches of the training actions."""
        return PairLoader(self.train, self.batch_size, self.seed)

    def val_dataloader(self) -> PairLoader:
        """The actions held out."""
        return PairLoader(self.valid, self.batch_size)

    def test_dataloader(self) -> PairLoader:
        """All actions."""
        return PairLoader(self.pairs, self.batch_size)

    def predict_dataloader(self) -> PairLoader:
        """All actions, in the order of the file."""
        return PairLoader(self.pairs, self.batch_size)
