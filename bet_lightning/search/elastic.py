"""Elastic pretraining: random prefixes of all rows, so that a trained table can be cut anywhere."""

import torch
from torch import Tensor


def elastic_sizes(num_rows: int, max_size: int, share: float, *, seed: int, step: int) -> Tensor:
    """Sizes for one training batch: log-uniform in 1..max_size for every row, or all full.

    Like nested dropout (Rippel et al. 2014, arXiv 1402.0915), which makes the first columns carry the most.

    Args:
        num_rows: Rows of the table.
        max_size: Largest size of a row.
        share: Share of the batches with random sizes; the others train full rows.
        seed: Seed of the draws.
        step: Number of the batch; the same seed and step give the same sizes.

    Returns:
        (num_rows,) int64.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    if float(torch.rand((), generator=generator)) >= share:
        return torch.full((num_rows,), max_size)
    uniform = torch.rand(num_rows, generator=generator, dtype=torch.float64)
    return ((max_size + 1.0) ** uniform).long().clamp(max=max_size)
