"""Vocabularies against numpy's unique."""

import numpy as np
import polars as pl
import pytest

from bet_lightning.data import vocabularies
from bet_lightning.data.vocabularies import DistinctIds


@pytest.mark.parametrize("spread", [1, 10**6])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.String])
def test_rows_point_at_ids(rng, monkeypatch, spread, dtype):
    monkeypatch.setattr(vocabularies, "_LEAST_MERGED", 10)
    pieces = [pl.Series(rng.integers(-99, 99, 50) * spread).cast(dtype) for _ in range(20)]
    distinct = DistinctIds()
    for piece in pieces:
        distinct.add(piece)
    vocabulary = distinct.vocabulary(row_numbers=False)
    assert vocabulary.ids.tolist() == sorted({each for piece in pieces for each in piece})
    for piece in pieces:
        rows = vocabulary.rows_of(piece)
        assert rows.dtype == np.int64
        assert vocabulary.ids[rows].tolist() == piece.to_list()


def test_integers_beside_text_are_text():
    distinct = DistinctIds()
    distinct.add(pl.Series([2, 10]))
    distinct.add(pl.Series(["x"]))
    vocabulary = distinct.vocabulary(row_numbers=True)
    assert vocabulary.ids.tolist() == ["10", "2", "x"]
    assert vocabulary.rows_of(pl.Series([10, 2])).tolist() == [0, 1]
