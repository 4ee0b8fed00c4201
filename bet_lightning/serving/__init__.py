"""Recommending from a packed table with numpy alone: nothing here imports torch."""

from bet_lightning.serving.packed_table import PackedTable
from bet_lightning.serving.recommender import PackedRecommender, Recommendations

__all__ = ["PackedRecommender", "PackedTable", "Recommendations"]
