"""Small data sets and the real ones, if there are any."""

import os
from pathlib import Path

import numpy as np
import pytest

from bet_lightning.data import DataSplit, make_synthetic, split_interactions


@pytest.fixture
def real_data() -> Path:
    """Folder of the real data sets."""
    folder = os.environ.get("BET_DATA_DIR")
    if not folder:
        pytest.skip("BET_DATA_DIR does not name a folder with the real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def small_split() -> DataSplit:
    """A learnable data set, split 80/10/10."""
    return split_interactions(make_synthetic(300, 200, 6000), "ratio", name="small")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
