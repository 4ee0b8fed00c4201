"""Embedding tables with one size per row."""

from bet_lightning.embedding.masked import MaskedEmbedding

__all__ = ["MaskedEmbedding"]
