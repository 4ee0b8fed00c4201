"""Lightning callbacks: BET's phases, their progress bar and the writer of predictions."""

from bet_lightning.callbacks.elastic import ElasticPretraining
from bet_lightning.callbacks.predictions import PredictionWriter
from bet_lightning.callbacks.progress import SearchProgressBar
from bet_lightning.callbacks.table_search import TableSearch

__all__ = ["ElasticPretraining", "PredictionWriter", "SearchProgressBar", "TableSearch"]
