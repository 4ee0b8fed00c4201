"""Interactions: reading, splitting, sampling, and the data module that feeds them to Lightning."""

from bet_lightning.data.catalog import CATALOG, CatalogEntry, CatalogFile, check_statistics, find_dataset
from bet_lightning.data.datamodule import InteractionDataModule
from bet_lightning.data.frames import ColumnNames
from bet_lightning.data.interactions import Csr, DataSplit, Interactions
from bet_lightning.data.ranking_batches import RankingBatch, RankingLoader
from bet_lightning.data.readers import RawTable, Table, encode_interactions, read_interactions
from bet_lightning.data.splits import SplitName, split_interactions
from bet_lightning.data.synthetic import make_synthetic
from bet_lightning.data.triplets import BPRBatch, TripletLoader, TripletSampler

__all__ = [
    "CATALOG",
    "BPRBatch",
    "CatalogEntry",
    "CatalogFile",
    "ColumnNames",
    "Csr",
    "DataSplit",
    "InteractionDataModule",
    "Interactions",
    "RankingBatch",
    "RankingLoader",
    "RawTable",
    "SplitName",
    "Table",
    "TripletLoader",
    "TripletSampler",
    "check_statistics",
    "encode_interactions",
    "find_dataset",
    "make_synthetic",
    "read_interactions",
    "split_interactions",
]
