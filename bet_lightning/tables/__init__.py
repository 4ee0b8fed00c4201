"""Embedding tables with one size per row."""

from bet_lightning.embedding.masked import MaskedEmbedding
from bet_lightning.embedding.packed import PackedEmbedding

__all__ = ["MaskedEmbedding", "PackedEmbedding"]
