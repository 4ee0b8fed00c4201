"""The probed actions of a search as training data of a fitness predictor."""

from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch

from bet_lightning.methods.bet.fitting import ActionFitness
from bet_lightning.runs.folder import read_popularity, read_probes


class PairLoader:
    """Batches of (action, fitness) pairs, in a new order every epoch if shuffled.

    Args:
        pairs: The pairs.
        batch_size: Pairs a batch.
        seed: Seed of the order; None keeps the order given.
    """

    def __init__(self, pairs: ActionFitness, batch_size: int, seed: int | None = None) -> None:
        self.pairs, self.batch_size, self.seed, self.epoch = pairs, batch_size, seed, 0
        if seed is not None:
            self.sampler = self  # where Lightning looks for set_epoch

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

    Actions are known by how many rows have each size: those of other families than the paper's are read as if sizes
    followed popularity.

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
        records = read_probes(Path(self.path))
        actions = [record.action for record in records]
        if len(actions) < 2:
            raise ValueError(f"{self.path}: at least 2 actions are needed, found {len(actions)}")
        self.profiles = read_popularity(Path(self.path).parent)
        self.pairs = ActionFitness.from_pairs(actions, [record.fitness for record in records])
        self.max_size = self.pairs.users.shape[1]
        order = torch.randperm(len(actions), generator=torch.Generator().manual_seed(self.seed))
        held_out = min(max(1, round(self.valid_ratio * len(actions))), len(actions) - 1)
        self.valid = ActionFitness(*(column[order[:held_out]] for column in self.pairs))
        self.train = ActionFitness(*(column[order[held_out:]] for column in self.pairs))

    def train_dataloader(self) -> PairLoader:
        """Shuffled batches of the training actions."""
        return PairLoader(self.train, self.batch_size, self.seed)

    def val_dataloader(self) -> PairLoader:
        """Return the actions held out."""
        return PairLoader(self.valid, self.batch_size)

    def test_dataloader(self) -> PairLoader:
        """Return all actions."""
        return PairLoader(self.pairs, self.batch_size)

    def predict_dataloader(self) -> PairLoader:
        """Return all actions, in the order of the file."""
        return PairLoader(self.pairs, self.batch_size)
