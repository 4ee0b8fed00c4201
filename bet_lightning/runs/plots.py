"""The plots of a run, drawn from the files of its folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from bet_lightning.runs.curves import read_points
from bet_lightning.runs.folder import ACTIONS, read_probes, read_record
from bet_lightning.runs.popularity_plots import read_profiles, sizes_plot
from bet_lightning.runs.result_plots import bytes_plot, tradeoff_plot, training_plot
from bet_lightning.runs.search_plots import fitness_plot, predictor_plot
from bet_lightning.runs.style import Plot

log = logging.getLogger(__name__)


def plots_of(folder: Path) -> list[Plot]:
    """Return the plots that a run folder has the data for.

    Args:
        folder: The run folder.

    Raises:
        ValueError: If the folder is not that of a run.
    """
    record = read_record(folder)
    probes = read_probes(folder / ACTIONS) if (folder / ACTIONS).is_file() else []
    plots = (
        tradeoff_plot(record),
        sizes_plot(record, read_profiles(folder, record)),
        bytes_plot(folder, record),
        fitness_plot(record, probes),
        predictor_plot(record, probes),
        training_plot(record, read_points(folder)),
    )
    return [plot for plot in plots if plot is not None]


def save_plots(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Draw plots as pictures.

    Args:
        plots: What to draw.
        folder: The run folder.

    Returns:
        The files that could be written, ``plots/*.png``.
    """
    paths = []
    for plot in plots:
        path = folder / "plots" / f"{plot.name}.png"
        try:
            plot.save(path)
            paths.append(path)
        except ValueError as error:  # the run is over and its results are safe
            log.warning("%s", error)
    return paths
