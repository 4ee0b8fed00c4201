"""One bit a value."""

from __future__ import annotations

from typing import Literal, get_args

from bet_lightning.methods.compression import Compressed, Compression, full_tables, with_tables
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Epochs, Weights
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables.one_bit import OneBitTable, most_columns, one_bit_bytes

Scale = Literal["side", "row"]


class OneBit(Compression):
    """Signs with scales, in the form of BiGeaR (Chen et al. 2022, KDD, arXiv 2206.02115).

    Every row has as many columns as fit the budget at a bit a value, the first ones after the columns are turned so
    that those carry most. They start from the signs of the pre-trained table and are trained through the sign.

    Deviations: BiGeaR takes the signs of the vectors of every layer, with positive scales a layer, so that it scores by
    bitwise operations; here the table is binarised and backbones propagate it, which has fewer bits and is what a
    budget of the table counts. Gradients pass straight through the sign, instead of the paper's approximation of its
    derivative; nothing is distilled from the full table but its values, where the paper also distils its rankings.
    Scales are trained. Several tables share the budget evenly.

    Args:
        scale: What has a scale of its own: a ``side``, all users or all items of a table, as a float32; or a ``row``,
            as a byte.
        pretrain: How the full table is trained.
        train: How long the signs may be trained; with 0 epochs they are only taken.
        warm_schedule: Learning rate of that training (default: the recommender's from fresh weights).
        turned: See :class:`Compression`. Where all columns fit, those as they were trained may do better: they are
            about equally large, as their signs are.

    Raises:
        ValueError: If the scale is unknown.
    """

    rounds = True

    def __init__(
        self,
        scale: Scale = "side",
        pretrain: PretrainSettings = PretrainSettings(),
        train: Epochs = Epochs(max_epochs=100),
        warm_schedule: LRSchedule | None = None,
        turned: bool = True,
    ) -> None:
        super().__init__("one_bit", pretrain, train, warm_schedule, turned)
        if scale not in get_args(Scale):
            raise ValueError(f"search.method.scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")
        self.by_row = scale == "row"

    def least_bytes(self, shape: TableShape) -> int:
        """Return the bytes of tables of one column."""
        return shape.num_tables * one_bit_bytes(shape.num_rows, 1, self.by_row)

    def compress(self, pretrained: Weights, budget: ResolvedBudget) -> Compressed:
        """Take the signs of the first columns: see :meth:`Compression.compress`."""
        shape, full = budget.shape, full_tables(pretrained)
        max_size = shape.width // shape.num_tables
        columns = min(max_size, most_columns(budget.bytes // shape.num_tables, shape.num_rows, self.by_row))
        tables = []
        for values in full:
            table = OneBitTable(shape.num_users, shape.num_items, max_size, columns, self.by_row)
            table.fit(values)
            tables.append(table)
        return with_tables(pretrained, tables)
