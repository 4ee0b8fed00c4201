from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bet_lightning.methods.rules import write_sizes
from bet_lightning.runs.folder import sizes_path, write_frequency
from bet_lightning.runs.popularity_plots import SideProfile, read_profiles, sizes_plot
from tests.runs.test_records import make_record, make_result


def test_groups_have_the_means_of_their_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    frequency = (torch.rand(500, generator=generator) ** 6 * 400).long()
    sizes = torch.randint(0, 9, (500,), generator=generator)
    profile = SideProfile.of(frequency, sizes, bits=4.0)
    assert (np.diff(profile.popularity) > 0).all() and len(profile.popularity) <= 20
    assert profile.popularity[0] == 0  # rows without interactions are a group of their own
    of_none = sizes[frequency == 0].double()
    assert profile.size[0] == pytest.approx(float(of_none.mean()))
    assert profile.empty[0] == pytest.approx(float((of_none == 0).double().mean()))
    assert profile.bits == pytest.approx(4 * profile.size)
    assert (profile.num_rows, profile.num_empty) == (500, int((sizes == 0).sum()))
    # whatever the groups, they hold every row once: those with the least interactions first
    assert profile.popularity.min() <= float(frequency.double().mean()) <= profile.popularity.max()


def test_rows_of_one_popularity_are_one_group() -> None:
    profile = SideProfile.of(torch.full((4,), 7), torch.tensor([0, 2, 4, 6]), bits=32.0)
    assert [each.tolist() for each in (profile.popularity, profile.size, profile.empty)] == [[7.0], [3.0], [0.25]]


def test_only_results_with_sizes_have_profiles_and_the_best_of_a_budget_is_drawn(tmp_path: Path) -> None:
    results = [
        make_result("full", None, 0.3),
        replace(make_result("bet@0.5", "0.5", 0.3), dtype="int8"),
        make_result("uniform@0.5", "0.5", 0.2),
        make_result("pep@0.25", "0.25", 0.1),
    ]
    record = make_record(*results)
    assert read_profiles(tmp_path, record) == {} and sizes_plot(record, {}) is None
    write_frequency(tmp_path, torch.arange(210.0))
    for name in ("full", "bet@0.5", "uniform@0.5"):
        write_sizes(sizes_path(tmp_path, name), torch.arange(210) % 9)
    profiles = read_profiles(tmp_path, record)
    assert list(profiles) == ["bet@0.5", "uniform@0.5"]
    users, items = profiles["bet@0.5"]
    assert (users.num_rows, items.num_rows) == (120, 90)
    assert (users.num_empty, items.num_empty) == (14, 10)  # every ninth row
    assert users.bits == pytest.approx(8 * users.size)
    plot = sizes_plot(record, profiles)
    assert plot is not None and len(plot.panels) == 6  # sizes, bits and rows with nothing, of both sides
