"""Which probed actions go on to a longer probe: the fittest of those that differ."""

from collections.abc import Sequence
from itertools import zip_longest

from bet_lightning.methods.bet.action import Draw, RuleDraw
from bet_lightning.methods.bet.records import ProbeRecord
from bet_lightning.methods.bet.settings import Start

_DIFFERENCE = 0.1  # in what actions were drawn with; those nearer than this train alike


def rank_probes(records: Sequence[ProbeRecord], budget: str) -> list[ProbeRecord]:
    """Return the probes of a budget, given by its name, the fittest first."""
    return sorted((record for record in records if record.budget == budget), key=lambda record: -record.fitness)


def choose_finalists(records: Sequence[ProbeRecord], number: int, start: Start) -> list[ProbeRecord]:
    """Choose records of probes for a longer one.

    An action near a fitter one is taken only where there are not enough others. Probes start warm and foretell little
    of what fresh weights make of an action, so that for those the kinds of actions take turns.

    Args:
        records: Probes of one budget, by fitness, the best first.
        number: How many to choose at most.
        start: Weights that the longer probe starts from.

    Returns:
        The chosen, the best first.
    """
    drawn = [record for record in records if not isinstance(record.draw, RuleDraw)]
    if start == "warm":
        return differing(drawn)[:number]
    kinds: dict[type[Draw], list[ProbeRecord]] = {}
    for record in drawn:
        kinds.setdefault(type(record.draw), []).append(record)
    turns = zip_longest(*map(differing, kinds.values()))
    return [record for turn in turns for record in turn if record][:number]


def choose_retrained(records: Sequence[ProbeRecord], number: int, start: Start, tuned: bool) -> list[ProbeRecord]:
    """Choose records of probes for a retraining.

    Args:
        records: Probes of one budget, by fitness, the best first.
        number: How many to choose at most.
        start: Weights that the retraining starts from.
        tuned: Whether the longer probes from there decide.
    """
    drawn = [record for record in records if not isinstance(record.draw, RuleDraw)]
    if tuned and any(start in record.tuned for record in drawn):
        finalists = [record for record in drawn if start in record.tuned]
        drawn = sorted(finalists, key=lambda record: -record.tuned[start].fitness)
    return drawn[:number]


def choose_rule(records: Sequence[ProbeRecord]) -> ProbeRecord | None:
    """Return the fittest simple rule of the probes of one budget, by fitness, if there is one."""
    return next((record for record in records if isinstance(record.draw, RuleDraw)), None)


def differing(records: Sequence[ProbeRecord]) -> list[ProbeRecord]:
    """Put behind all others what is near a record before it."""
    ahead: list[ProbeRecord] = []
    behind: list[ProbeRecord] = []
    for record in records:
        is_near = any(record.draw.is_near(other.draw, _DIFFERENCE) for other in ahead)
        (behind if is_near else ahead).append(record)
    return ahead + behind
