"""Optimisers of embedding tables, without Lightning."""

from bet_lightning.optimizers.row_adam import RowAdam, can_step_by_rows, pays_by_rows, release_rows

__all__ = ["RowAdam", "can_step_by_rows", "pays_by_rows", "release_rows"]
