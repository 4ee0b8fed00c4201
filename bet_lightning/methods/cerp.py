"""CERP: compositional embeddings with regularised pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.methods.pep import ThresholdPruning, cost_of, count_within
from bet_lightning.methods.tasks import Epochs
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.tables.base import EmbeddingTable
from bet_lightning.tables.compositional import ComplementaryTable, CompositionalTable
from bet_lightning.tables.soft_threshold import PrunedTable, SoftThresholdTable

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch
    from bet_lightning.recommender import Recommender


class CERP(ThresholdPruning):
    """Sums of rows of two pruned meta tables (Liang et al. 2023, ICDM, arXiv 2309.03518).

    Every user and item is the sum of a row of each of two small tables: see
    :class:`~bet_lightning.tables.compositional.CompositionalTable`. Their entries shrink by thresholds that are learned
    as PEP's are, with a loss that keeps sums from zero, so that the two tables complement each other. When no more
    entries are left than the budget allows, these are trained again from their initial values under a fixed mask.

    The paper fixes the number of buckets and prunes them to a number of parameters. Here the budget fixes that number,
    and buckets are the fewest of which no more than ``density`` of the entries can be kept. A budget in parameters
    counts entries; one in bytes pays for the index of an unstructured mask of the two tables beside each entry's
    float32. Which rows are added up is computed and costs nothing.

    Deviations: entries that are kept are the budget's number of those furthest above their thresholds, so that it is
    met exactly, whatever thresholds have grown to; counts are taken after epochs, not steps. The loss is a mean over a
    batch's users and positive items, not a sum, so that its weight does not depend on the size of a batch. Thresholds
    begin at the sigmoid of -5 instead of -100, where float32 has no gradient and the released code moves them by weight
    decay alone; from -15, as in PEP, Adam hardly moves those of entries that single losses hardly depend on.

    Args:
        density: Share of the meta tables' entries that is kept, in (0, 1] (paper: a half, or as a run asks for).
        complement: Initial weight of the loss, which halves every epoch (paper: 1).
        initial_threshold: Initial value of thresholds, which are its sigmoid.
        learn: How long thresholds are learned at most (paper: 50 epochs).
        train: How long the entries kept are trained again.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        density: float = 0.5,
        complement: float = 1.0,
        initial_threshold: float = -5.0,
        learn: Epochs = Epochs(max_epochs=50),
        train: Epochs = Epochs(),
    ) -> None:
        super().__init__("cerp", learn, train)
        if not 0 < density <= 1:
            raise ValueError(f"search.method.density must be in (0, 1], got {density}")
        if complement < 0:
            raise ValueError(f"search.method.complement must be at least 0, got {complement}")
        self.density = density
        self.complement = complement
        self.initial_threshold = initial_threshold

    def min_size(self, network: Backbone, rebuilds_rows: bool) -> int:
        """Return 0: there are no rows with sizes of their own."""
        return 0

    def count(self, budget: ResolvedBudget) -> int:
        """Return how many entries of both meta tables a budget allows: see :meth:`ThresholdPruning.count`."""
        return count_within(budget, 2 * find_buckets(budget, self.density))

    def soft_table(self, budget: ResolvedBudget) -> EmbeddingTable:
        """Return meta tables with thresholds: see :meth:`ThresholdPruning.soft_table`."""
        shape, buckets = budget.shape, find_buckets(budget, self.density)
        meta = SoftThresholdTable(2 * buckets, shape.width // shape.num_tables, "entry", self.initial_threshold)
        return ComplementaryTable(shape.num_rows, meta, self.complement)

    def learning_loss(self, recommender: Recommender, batch: BPRBatch) -> Tensor:
        """Return what keeps sums of a batch's rows from zero: see :meth:`ThresholdPruning.learning_loss`."""
        network = recommender.network
        rows = torch.cat([batch.users, network.item_rows(batch.pos_items)])
        losses = [table.row_loss(rows) for table in network.tables if isinstance(table, ComplementaryTable)]
        return torch.stack(losses).sum()

    def pruned_table(self, budget: ResolvedBudget, mask: Tensor) -> EmbeddingTable:
        """Return meta tables with some entries alone: see :meth:`ThresholdPruning.pruned_table`."""
        num_rows, columns = mask.shape
        return CompositionalTable(budget.shape.num_rows, PrunedTable(num_rows, columns, mask))


def find_buckets(budget: ResolvedBudget, density: float) -> int:
    """Return the fewest rows of a meta table, at most one a user and item, of which a budget keeps only a share.

    Args:
        budget: The budget.
        density: The most that is kept of both meta tables' entries.
    """
    shape = budget.shape
    low, high = 1, shape.num_rows
    while low < high:
        middle = (low + high) // 2
        share = int(density * 2 * middle * shape.width)
        if cost_of(share + 1, budget, 2 * middle) > budget.amount:
            high = middle
        else:
            low = middle + 1
    return low
