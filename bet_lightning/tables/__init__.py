"""Embedding tables: what holds a vector a row within a budget."""

from bet_lightning.tables.base import EmbeddingTable, build_table
from bet_lightning.tables.masked import MaskedEmbedding
from bet_lightning.tables.packed import PackedEmbedding

__all__ = ["EmbeddingTable", "MaskedEmbedding", "PackedEmbedding", "build_table"]
