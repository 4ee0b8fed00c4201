"""Which probed actions go on to a longer probe: the fittest of those that differ."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from bet_lightning.search.spectral import EVEN, SPECTRAL
from bet_lightning.search.trial import Start

_DIFFERENCE = 0.1  # in user share or evenness; actions nearer than this train alike
Record = Mapping[str, Any]


def choose_finalists(records: Sequence[Record], number: int, start: Start) -> list[Record]:
    """Choose records of probes for a longer one.

    An action near a fitter one is taken only where there are not enough others. Probes start warm and foretell little
    of what fresh weights make of an action, so that for those the kinds take turns: spectral, even and the paper's.

    Args:
        records: Probes of one budget, by fitness, the best first.
        number: How many to choose at most.
        start: Weights that the longer probe starts from.

    Returns:
        The chosen, the best first.
    """
    if start == "warm":
        return differing(records)[:number]
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(_kind(record), []).append(record)
    turns = zip_longest(*map(differing, kinds.values()))
    return [record for turn in turns for record in turn if record][:number]


def choose_retrained(records: Sequence[Record], number: int, start: Start, tuned: bool) -> list[Record]:
    """Choose records of probes for a retraining.

    Args:
        records: Probes of one budget, by fitness, the best first.
        number: How many to choose at most.
        start: Weights that the retraining starts from.
        tuned: Whether the longer probes from there decide.
    """
    if tuned:
        finalists = [record for record in records if start in record.get("tuned", {})]
        records = sorted(finalists, key=lambda record: -record["tuned"][start]["fitness"])
    return list(records[:number])


def differing(records: Sequence[Record]) -> list[Record]:
    """Put behind all others what is near a record before it."""
    ahead: list[Record] = []
    behind: list[Record] = []
    for record in records:
        (behind if any(_near(record, other) for other in ahead) else ahead).append(record)
    return ahead + behind


def _near(one: Record, other: Record) -> bool:
    return all(abs(one[name] - other[name]) < _DIFFERENCE for name in ("user_share", "evenness"))


def _kind(record: Record) -> str:
    name: str = record["user_distribution"]
    return name if name in (SPECTRAL, EVEN) else "paper"
