"""The numbers that runs are sorted and compared by."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.ranking import quality
from bet_lightning.runs.records import ResultRecord, RunRecord, Stage

_STAGES: tuple[Stage, ...] = ("valid", "test")
_MAX_BINS = 64  # of a histogram of sizes


class Sheet(NamedTuple):
    """A table of plain values.

    Attributes:
        columns: Names of its columns.
        rows: Its rows, a value a column.
    """

    columns: list[str]
    rows: list[list[Any]]


def summary(record: RunRecord) -> dict[str, float | str]:
    """Return the numbers of all results of a run so far, each under its places, and its seconds.

    Args:
        record: What the run says of itself.
    """
    trained = sum(result.seconds for result in record.results)
    numbers: dict[str, float | str] = {
        "seconds/search": record.search.seconds,
        "seconds/total": record.search.seconds + trained,
    }
    for place, result in places(record):
        if place.startswith("best"):
            numbers[f"{place}/name"] = result.name
        numbers |= {f"{place}/{name}": value for name, value in measures(record, result).items()}
    return numbers


def places(record: RunRecord) -> Iterator[tuple[str, ResultRecord]]:
    """Return where the numbers of a result are: under its name, and as the best of its budget.

    ``best`` is that of the first budget, the largest; ``best@<budget>`` is there for each where there are several.
    """
    for result in record.results:
        yield f"results/{key_of(result.name)}", result
    for number, budget in enumerate(record.budgets):
        best = record.best(budget.name)
        if best is not None and number == 0:
            yield "best", best
        if best is not None and len(record.budgets) > 1:
            yield f"best@{key_of(budget.name)}", best


def key_of(name: str) -> str:
    """Return a name as a part of a key, ``bet@0_1`` of ``bet@0.1``: a dot would be taken for a level of nesting."""
    return name.replace(".", "_")


def measures(record: RunRecord, result: ResultRecord) -> dict[str, float]:
    """Return the numbers of a result: its validation metrics, and what a budget is about.

    Args:
        record: The run, whose full table it is compared with where there is one.
        result: One of its results.
    """
    full = record.full
    share = {"share_of_full": quality(result.valid) / full.quality} if full and full.quality and result.valid else {}
    return {
        **result.valid,
        **share,
        "params": result.params,
        "bytes": result.bytes,
        "share_of_dense_bytes": record.share_of_bytes(result),
        "seconds": result.seconds,
    }


def result_sheet(record: RunRecord) -> Sheet:
    """Return all results of a run with their metrics of validation and test, as far as there are any."""
    metrics = [(stage, name) for stage in _STAGES for name in record.results[0].metrics(stage)]
    columns = ["name", "budget", "params", "bytes", "dtype", "share_of_full", "share_of_dense_bytes", "seconds"]
    rows = []
    for result in record.results:
        numbers = measures(record, result)
        shares = [numbers.get("share_of_full"), numbers["share_of_dense_bytes"]]
        told = [result.name, result.budget or "", result.params, result.bytes, result.dtype, *shares, result.seconds]
        rows.append([*told, *(result.metrics(stage).get(name) for stage, name in metrics)])
    return Sheet([*columns, *(f"{stage} {name}" for stage, name in metrics)], rows)


def action_sheet(probes: Sequence[ProbeRecord]) -> Sheet:
    """Return all probed actions with their fitness and how many users and items have sizes within each range."""
    columns = ["iteration", "budget", "strategy", "fitness", "predicted_fitness", "params", "dtype", "user_share"]
    rows = []
    for probe in probes:
        action = probe.action
        told = [probe.iteration, probe.budget, probe.strategy, probe.fitness, probe.predicted_fitness]
        sizes = [histogram(counts)[0].tolist() for counts in (action.user_counts, action.item_counts)]
        form = [action.params, action.form.dtype, probe.draw.user_share]
        rows.append([*told, *form, *sizes, probe.seconds, probe.failed])
    return Sheet([*columns, "user_sizes", "item_sizes", "seconds", "failed"], rows)


def histogram(counts: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows have sizes within each of some ranges, and the bounds of these; empty rows are left out.

    Args:
        counts: (max_size,) int64, rows of size 1, 2 and so on.
    """
    sizes = np.arange(1, len(counts) + 1)
    bounds = (0.5, len(counts) + 0.5)
    rows, edges = np.histogram(sizes, bins=min(len(counts), _MAX_BINS), range=bounds, weights=counts.numpy())
    return rows, edges
