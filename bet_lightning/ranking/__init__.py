"""Full ranking: top-k lists and their metrics."""

from bet_lightning.ranking.metrics import RankingMetrics, hits_at_k, quality, recall_ndcg
from bet_lightning.ranking.topk import top_k_items

__all__ = ["RankingMetrics", "hits_at_k", "quality", "recall_ndcg", "top_k_items"]
