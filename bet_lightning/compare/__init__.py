"""Comparisons: tables of runs, of which only the missing ones are made."""

from bet_lightning.compare.cells import Cell, Comparison
from bet_lightning.compare.rows import read_rows, write_rows

__all__ = ["Cell", "Comparison", "read_rows", "write_rows"]
