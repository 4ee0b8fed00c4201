"""Lightning callbacks: the search, its progress bar and the writer of predictions."""

from bet_lightning.callbacks.predictions import PredictionWriter
from bet_lightning.callbacks.progress import SearchProgressBar
from bet_lightning.callbacks.table_search import TableSearch

__all__ = ["PredictionWriter", "SearchProgressBar", "TableSearch"]
