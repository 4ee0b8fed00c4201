"""Fitting the fitness predictor to measured (action, fitness) pairs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bet_lightning.methods.bet.action import Action, stack_counts
from bet_lightning.methods.bet.set_predictor import SetPredictor


class ActionFitness(NamedTuple):
    """Probed actions and what they measured.

    Attributes:
        users: What the predictor sees of the users' sizes, an action a row.
        items: The same of the items'.
        precision: (b,) float32, how finely values are held.
        fitness: (b,) float32.
    """

    users: Tensor
    items: Tensor
    precision: Tensor
    fitness: Tensor

    @classmethod
    def from_pairs(cls, actions: Sequence[Action], fitness: Sequence[float]) -> "ActionFitness":
        """Stack actions that hand out sizes by popularity, and their fitness."""
        return cls(*stack_counts(actions), torch.tensor(fitness, dtype=torch.float32))


def fitness_loss(predictor: SetPredictor, pairs: ActionFitness) -> Tensor:
    """Return the mean squared error of the predicted fitness (BET, Sec. 3.3)."""
    return nn.functional.mse_loss(predictor(pairs.users, pairs.items, pairs.precision), pairs.fitness)


def fitness_optimizer(
    predictor: SetPredictor, lr: float, lr_decay: float, min_lr: float
) -> tuple[torch.optim.Adam, LambdaLR]:
    """Adam whose learning rate decays geometrically a step, down to a floor."""
    optimizer = torch.optim.Adam(predictor.parameters(), lr=lr)
    return optimizer, LambdaLR(optimizer, lambda step: max(min_lr / lr, lr_decay**step))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation of two equally long sequences; nan below two pairs or where one is constant."""
    if len(first) < 2:
        return float("nan")
    ranks = [_average_ranks(torch.as_tensor(values, dtype=torch.float64)) for values in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def _average_ranks(values: Tensor) -> Tensor:
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    average: Tensor = (counts.cumsum(0) - (counts - 1) / 2)[inverse]
    return average
