"""The LightningModule that trains the fitness predictor."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from bet_lightning.methods.bet.fitness_predictor import FitnessPredictor
from bet_lightning.methods.bet.fitting import ActionFitness, fitness_loss, fitness_optimizer, spearman
from bet_lightning.modules.actions import ActionsDataModule


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
        """Return the mean squared error."""
        loss = fitness_loss(self.network, batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.fitness))
        return loss

    def _collect(self, batch: ActionFitness) -> None:
        self.predicted.append(self.network(batch.users, batch.items, batch.precision))
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
        predicted: Tensor = self.network(batch.users, batch.items, batch.precision)
        return predicted

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a geometric decay a step."""
        optimizer, scheduler = fitness_optimizer(self.network, self.lr, self.lr_decay, self.min_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
