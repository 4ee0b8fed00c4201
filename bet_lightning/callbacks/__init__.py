"""Lightning callbacks: the search, its progress bar, the writer of predictions, and a strategy."""

from bet_lightning.callbacks.columns import ColumnsStrategy
from bet_lightning.callbacks.predictions import PredictionWriter
from bet_lightning.callbacks.progress import SearchProgressBar
from bet_lightning.callbacks.table_search import TableSearch

__all__ = ["ColumnsStrategy", "PredictionWriter", "SearchProgressBar", "TableSearch"]
