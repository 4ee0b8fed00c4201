"""Magnitude pruning: the largest values of a trained table."""

from __future__ import annotations

from bet_lightning.methods.compression import Compressed, Compression, full_tables, with_tables
from bet_lightning.methods.pep import keep_largest
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Epochs, Weights
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables.soft_threshold import PrunedTable
from bet_lightning.tables.sparse_bytes import most_values, sparse_bytes


class MagnitudePruning(Compression):
    """Unstructured magnitude pruning (Han et al. 2015, NeurIPS, arXiv 1506.02626).

    The largest values of the trained table are kept, wherever they are, and trained on under a fixed mask. Each is a
    float32, and a budget in bytes pays for their index: see :func:`~bet_lightning.tables.sparse_bytes.sparse_bytes`.

    Deviations: the paper prunes all values below a multiple of their deviation, and prunes and trains in turns; here
    exactly as many are kept as the budget allows, in one step. Several tables share the budget evenly.

    Args:
        pretrain: How the full table is trained.
        train: How long the values kept may be trained; with 0 epochs the table is only pruned.
        warm_schedule: Learning rate of that training (default: the backbone's recipe).
        turned: See :class:`Compression`; that gathers a table's energy in few values.
    """

    takes_params = True

    def __init__(
        self,
        pretrain: PretrainSettings = PretrainSettings(),
        train: Epochs = Epochs(max_epochs=100),
        warm_schedule: LRSchedule | None = None,
        turned: bool = False,
    ) -> None:
        super().__init__("magnitude", pretrain, train, warm_schedule, turned)

    def least_bytes(self, shape: TableShape) -> int:
        """Return the bytes of tables of one value."""
        return shape.num_tables * sparse_bytes(1, shape.num_rows, shape.width // shape.num_tables)

    def compress(self, pretrained: Weights, budget: ResolvedBudget) -> Compressed:
        """Keep the largest values of each table: see :meth:`Compression.compress`."""
        tables = full_tables(pretrained)
        share = budget.amount // len(tables)
        sparse = []
        for values in tables:
            count = share if budget.unit == "params" else most_values(share, *values.shape)
            (mask,) = keep_largest([values.abs()], count)
            sparse.append(PrunedTable.from_values(values, mask))
        return with_tables(pretrained, sparse)
