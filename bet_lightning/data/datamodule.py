"""The LightningDataModule for implicit feedback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl

from bet_lightning.data.frames import ColumnNames
from bet_lightning.data.interactions import Csr, DataSplit
from bet_lightning.data.ranking_batches import RankingLoader
from bet_lightning.data.sources import SYNTHETIC, MadeUp, choose_source
from bet_lightning.data.splits import (
    TIMED,
    SplitName,
    ValidChoice,
    check_split_arguments,
    split_interactions,
    usual_split,
)
from bet_lightning.data.triplets import TripletLoader, TripletSampler

if TYPE_CHECKING:  # the command line's parser imports these when it needs them
    from polars import DataFrame
    from torch_geometric.data import Dataset, HeteroData

_logger = logging.getLogger(__name__)
_MAX_SCORE_BYTES = 256 << 20  # of a ranking batch's float32 scores
_STEPS_PER_EPOCH = 24  # at least, if no batch size is given: fewer hardly train, and many more gain little
_BATCH_SIZES = (256, 8192)  # the smallest and the largest, if none is given


class InteractionDataModule(pl.LightningDataModule):
    """Triplets for training, blocks of users for full ranking, from a named data set, own files, a graph or a frame.

    Args:
        name: ``synthetic``, or a data set of the catalog: gowalla, yelp2018, amazon-book, ml-1m, lastfm. With own
            files it is replaced by the name of the (training) file without its suffix, or of its folder where that
            tells more; with ``source`` it is the data's name, by default that of the class or function.
        data_dir: Folder of the data sets of the catalog. Each is in ``data_dir/<name>/``, or is downloaded to it.
        path: Own file of all interactions: ``.csv``, ``.tsv``, ``.parquet``, ``.inter``, or ``.txt`` (adjacency list).
            Or a folder of Parquet files, or a pattern that such files fit, as ``"sales/2024-*.parquet"``; they may be
            larger than memory.
        train_path: Own training file, instead of ``path``.
        valid_path: Own validation file.
        test_path: Own test file.
        source: In place of files, a data set of torch_geometric with one graph, a ``HeteroData``, or a frame of polars
            or pandas; or a function without arguments, or a class with its arguments, that makes one of these, which
            is then called no earlier than in ``prepare_data``: ``--data.source torch_geometric.datasets.AmazonBook
            --data.source.root data/amazon``. Ids of a graph are the numbers of its nodes. Its ``edge_label_index`` is
            the test part; see :func:`~bet_lightning.data.graphs.read_graph`.
        edge_type: The edges from users to items of a graph, as ``user,rates,movie`` or ``user,movie``. By default the
            only ones between nodes of usual names. Edges back are not read.
        split: ``paper``, ``official``, ``ratio``, ``temporal``, ``leave_one_out`` or ``given``. By default ``given`` if
            the data have a validation part, ``official`` if they have only a test part, and ``ratio`` if neither.
        user_column: Name of the user column in own data. By default ``user_id`` or a similar name.
        item_column: Name of the item column in own data. By default ``item_id``, ``movieId`` or a similar name.
        rating_column: Name of the rating column in own data. By default ``rating`` or a similar name, which is read
            only if ``min_rating`` is given. Of a graph it is an attribute of edges, as the next one.
        time_column: Name of the time column in own data. By default ``timestamp`` or a similar name, if there is one.
            It is read only for a split by time.
        min_rating: Keep the rows of own files, or edges, with at least this rating. By default all are kept.
        separator: The character between columns of own text. By default the format's, or what the header has.
        ratios: Shares of train, valid and test for the splits ``ratio`` and ``temporal``.
        valid_ratio: Share of the training part that the split ``official`` validates on.
        valid_choice: Whether the split ``official`` chooses each user's validation pairs at ``random`` or takes the
            ``last`` by time. In adjacency lists, a pair's time is its position. Where the test part is the future, only
            the last pairs resemble it.
        train_on_valid: Train on the validation pairs too. This is for a last training whose number of epochs is known
            from an earlier run. Validation then ranks pairs that were trained on, so its metrics mean nothing and the
            last epoch is kept. With ``ratios`` that leave none for testing, as 0.9, 0.1, 0, all data is trained on.
        batch_size: Triplets per training batch. By default a power of two from 256 to 8,192 that makes about 24 to 48
            steps per epoch.
        eval_batch_size: Largest number of users per batch of validation, test and prediction. Batches have fewer where
            their scores would take more than 256 MiB. The metrics do not depend on it.
        seed: Seed of the split, of the triplets and of the synthetic data set.
        synthetic_users: Number of users of the synthetic data set.
        synthetic_items: Number of items of the synthetic data set.
        synthetic_interactions: Number of interactions of the synthetic data set.

    Attributes:
        split: The split; before ``setup`` None if none is given.
        shared: Whether several processes divide triplets and users among themselves; otherwise each process has all.
        whole_batches: Whether each process has all triplets nevertheless.
        num_skipped: After ``setup``, the number of users without targets in ``valid`` and in ``test``.

    Raises:
        ValueError: If an argument is out of range or cannot be combined with another.
    """

    def __init__(
        self,
        name: str = SYNTHETIC,
        data_dir: str = "data",
        path: str | None = None,
        train_path: str | None = None,
        valid_path: str | None = None,
        test_path: str | None = None,
        source: Callable[[], Dataset | HeteroData | DataFrame] | Dataset | HeteroData | DataFrame | None = None,
        edge_type: str | None = None,
        split: SplitName | None = None,
        user_column: str | None = None,
        item_column: str | None = None,
        rating_column: str | None = None,
        time_column: str | None = None,
        min_rating: float | None = None,
        separator: str | None = None,
        ratios: tuple[float, float, float] = (0.8, 0.1, 0.1),
        valid_ratio: float = 0.1,
        valid_choice: ValidChoice = "random",
        train_on_valid: bool = False,
        batch_size: int | None = None,
        eval_batch_size: int = 1024,
        seed: int = 0,
        synthetic_users: int = 2000,
        synthetic_items: int = 1500,
        synthetic_interactions: int = 60_000,
    ) -> None:
        """Check and keep the arguments. No file is read before ``setup``."""
        super().__init__()
        check_split_arguments(split, seed, ratios, valid_ratio, valid_choice)
        for flag, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size is not None and size < 1:
                raise ValueError(f"data.{flag} must be at least 1, got {size}")
        self.shared = True
        self.whole_batches = False
        self.split = split
        self.ratios = ratios
        self.valid_ratio = valid_ratio
        self.valid_choice = valid_choice
        self.train_on_valid = train_on_valid
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self._source = choose_source(
            name,
            data_dir,
            {"path": path, "train_path": train_path, "valid_path": valid_path, "test_path": test_path},
            source,
            MadeUp(synthetic_users, synthetic_items, synthetic_interactions, seed),
            ColumnNames(user_column, item_column, rating_column, time_column, min_rating),
            edge_type=edge_type,
            separator=separator,
        )
        self.name: str = self._source.name
        self.num_skipped: dict[str, int] = {}
        self._dataset: DataSplit | None = None
        self._triplets: TripletSampler | None = None

    @property
    def dataset(self) -> DataSplit:
        """The split data set, which ``setup`` builds.

        Raises:
            RuntimeError: If ``setup`` has not been called.
        """
        if self._dataset is None:
            raise RuntimeError("call setup() before using the data set")
        return self._dataset

    @property
    def triplets(self) -> TripletSampler:
        """The sampler behind the training loader."""
        if self._triplets is None:
            batch_size = self.batch_size or _usual_batch_size(self.dataset.train.nnz)
            self._triplets = TripletSampler(self.dataset.train, batch_size, self.seed, *self._ranks())
        return self._triplets

    def prepare_data(self) -> None:
        """Download what is missing of a data set that can be downloaded."""
        if self._dataset is None:
            self._source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data, once.

        Raises:
            ValueError: If the content of a file is invalid, or there is nothing to train or to validate on.
            FileNotFoundError: If a file is missing.
        """
        if self._dataset is not None:
            return
        last = self.valid_choice == "last"
        parts = self._source.read(timed=last or self.split in TIMED, ordered=last)
        self.split = self.split or usual_split(parts)
        split = split_interactions(
            parts,
            self.split,
            name=self.name,
            seed=self.seed,
            ratios=self.ratios,
            valid_ratio=self.valid_ratio,
            valid_choice=self.valid_choice,
        )
        for part, purpose in ((split.train, "train"), (split.valid, "validate")):
            if not part.nnz:
                raise ValueError(f"data.split {self.split} of {self.name} leaves nothing to {purpose} on")
        targets = {"valid": split.valid, "test": split.test}
        self.num_skipped = {part: int((csr.degrees() == 0).sum()) for part, csr in targets.items()}
        self._seen_at_validation = split.train
        if self.train_on_valid:
            split = replace(split, train=split.train.union(split.valid))
            _logger.warning("data.train_on_valid: validation ranks pairs that are trained on, its metrics are too high")
        self._dataset = split
        _logger.info("split %s of %s; hash %s", self.split, split.describe(), split.hash[:12])

    def train_dataloader(self) -> TripletLoader:
        """Return the loader of triplets: each training pair once per epoch, with a negative item."""
        self.triplets.rank, self.triplets.world_size = (0, 1) if self.whole_batches else self._ranks()
        return TripletLoader(self.triplets)

    def val_dataloader(self) -> RankingLoader:
        """Return the loader of users with validation targets. Their training items count as seen."""
        users = np.flatnonzero(self.dataset.valid.degrees())
        users = np.random.default_rng(self.seed).permutation(users)  # so that the first batches are a random sample
        return self._ranking_loader(users, self._seen_at_validation, self.dataset.valid)

    def test_dataloader(self) -> RankingLoader:
        """Return the loader of users with test targets. Their training and validation items count as seen.

        Raises:
            ValueError: If there are no test targets.
        """
        if not self.dataset.test.nnz:
            raise ValueError(f"data.split {self.split} of {self.name} leaves nothing to test on")
        users = np.flatnonzero(self.dataset.test.degrees())
        return self._ranking_loader(users, self.dataset.train.union(self.dataset.valid), self.dataset.test)

    def predict_dataloader(self) -> RankingLoader:
        """Return the loader of all users, without targets. All of their known items count as seen."""
        data = self.dataset
        seen = data.train.union(data.valid).union(data.test)
        nothing = Csr.from_keys(np.empty(0, dtype=np.int64), data.num_users, data.num_items)
        return self._ranking_loader(np.arange(data.num_users), seen, nothing)

    def _ranking_loader(self, users: npt.NDArray[np.int64], seen: Csr, targets: Csr) -> RankingLoader:
        """Return the loader of this process's part of the users."""
        rank, world_size = self._ranks()
        if len(users) < world_size:
            raise ValueError(f"{len(users)} users with targets are too few for {world_size} devices")
        return RankingLoader(users, seen, targets, self._users_at_once(), rank, world_size)

    def _users_at_once(self) -> int:
        """Return the number of users per batch, such that their float32 scores of all items stay within bounds."""
        return max(1, min(self.eval_batch_size, _MAX_SCORE_BYTES // (4 * self.dataset.num_items)))

    def _ranks(self) -> tuple[int, int]:
        """Return the number of this process and the number of processes: (0, 1) without a trainer or if not shared."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer and self.shared else (0, 1)


def _usual_batch_size(num_pairs: int) -> int:
    """Return the batch size to use if none is given."""
    low, high = _BATCH_SIZES
    fitting = 1 << max(0, (num_pairs // _STEPS_PER_EPOCH).bit_length() - 1)
    return min(max(fitting, low), high)
