"""Plots of what rows get by their popularity: parameters, bits, and nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from torch import Tensor

from bet_lightning.methods.tasks import FULL
from bet_lightning.runs.axes import in_counts, in_percent, in_popularity
from bet_lightning.runs.folder import FREQUENCY, read_rows, sizes_path
from bet_lightning.runs.records import RunRecord
from bet_lightning.runs.style import Plot, Style, styles_of
from bet_lightning.table_format import TableFormat

_MOST_BINS = 20
_MOST_CURVES = 6
MEASURES = {"size": "parameters a row, mean", "bits": "bits a row, mean", "empty": "rows with nothing"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SideProfile:
    """What rows of users or of items get in one table, by groups of about equal popularity.

    Attributes:
        popularity: ``(num_groups,)`` mean training interactions of a row.
        size: ``(num_groups,)`` mean parameters of a row.
        bits: ``(num_groups,)`` mean bits of a row's values.
        empty: ``(num_groups,)`` share of rows without values.
        num_rows: Rows of the side.
        num_empty: Those of them without values.
    """

    popularity: Floats
    size: Floats
    bits: Floats
    empty: Floats
    num_rows: int
    num_empty: int

    @classmethod
    def of(cls, frequency: Tensor, sizes: Tensor, bits: float) -> "SideProfile":
        """Group rows.

        Args:
            frequency: ``(num_rows,)`` int64, training interactions of rows.
            sizes: ``(num_rows,)`` int64, their parameters.
            bits: Bits that a value takes.
        """
        edges = np.unique(np.geomspace(1, int(frequency.max()) + 1, _MOST_BINS).round())
        group = np.searchsorted(edges, frequency.numpy(), side="right")  # those without interactions are the first
        rows = np.bincount(group)
        present = rows > 0
        rows = rows[present]
        popularity, size, empty = (
            np.bincount(group, weights=values.double().numpy())[present] / rows
            for values in (frequency, sizes, sizes == 0)
        )
        return cls(popularity, size, size * bits, empty, len(sizes), int((sizes == 0).sum()))


def read_profiles(folder: Path, record: RunRecord) -> dict[str, tuple[SideProfile, SideProfile]]:
    """Return what users and items get in every table whose rows have sizes, by the name of its result.

    Args:
        folder: The run folder.
        record: What the run says of itself.
    """
    frequency, num_users = read_rows(folder / FREQUENCY), int(record.dataset["users"])
    profiles = {}
    for result in record.results:
        sizes = read_rows(sizes_path(folder, result.name))
        if result.name != FULL and frequency is not None and sizes is not None:
            bits = TableFormat(result.dtype).bits
            of_users = SideProfile.of(frequency[:num_users], sizes[:num_users], bits)
            profiles[result.name] = (of_users, SideProfile.of(frequency[num_users:], sizes[num_users:], bits))
    return profiles


def sizes_plot(record: RunRecord, profiles: Mapping[str, tuple[SideProfile, SideProfile]]) -> Plot | None:
    """Return what users and items get by popularity in the best tables of at most six budgets.

    Args:
        record: What the run says of itself.
        profiles: Of its results, by name.
    """
    best = [result.name for budget in record.budgets if (result := record.best(budget.name))]
    shown = {name: profiles[name] for name in best[:: -(-len(best) // _MOST_CURVES) or 1] if name in profiles}
    if not shown:
        return None
    measures = ["size"]
    if any(result.dtype != "fp32" for result in record.results if result.name in shown):
        measures.append("bits")
    if any(side.num_empty for sides in shown.values() for side in sides):
        measures.append("empty")
    styles = styles_of(shown)
    panels = tuple(
        partial(
            draw_side,
            profiles={name: sides[index] for name, sides in shown.items()},
            styles=styles,
            measure=measure,
            side=side,
        )
        for measure in measures
        for index, side in enumerate(("users", "items"))
    )
    caption = (
        f"The best table of each budget, of at most {_MOST_CURVES} of them. A point is a group of rows of about equal "
        "popularity. Bits are those of the values. How many rows have nothing is in the table below."
    )
    return Plot("sizes", "Sizes by popularity", caption, panels)


def draw_side(
    axis: Axes,
    profiles: Mapping[str, SideProfile],
    styles: Mapping[str, Style],
    measure: str,
    side: str,
    title: str = "",
) -> None:
    """Draw what rows of a side get by their popularity.

    Args:
        axis: What is drawn on.
        profiles: Of that side, by the name of the curve.
        styles: Of the curves.
        measure: One of ``MEASURES``.
        side: ``users`` or ``items``.
        title: What stands above (default: the side).
    """
    for name, profile in profiles.items():
        axis.plot(profile.popularity, getattr(profile, measure), markersize=3.5, label=name, **styles[name])
    in_popularity(axis.xaxis, next(iter(profiles.values())).popularity.tolist())  # the same for all
    (in_percent if measure == "empty" else in_counts)(axis.yaxis)
    largest = max(float(getattr(profile, measure).max()) for profile in profiles.values())
    axis.set_ylim(0, 1.06 * (largest or 1.0))
    axis.set(title=title or side, xlabel=f"training interactions of {side}", ylabel=MEASURES[measure])
