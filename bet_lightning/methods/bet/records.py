"""What a search says of a probed action: a line of ``actions.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bet_lightning.backbones import KeptForm
from bet_lightning.methods.bet.action import Action, Draw
from bet_lightning.methods.bet.search import Proposal
from bet_lightning.methods.tasks import Outcome


@dataclass(frozen=True)
class TunedRecord:
    """A longer probe of an action.

    Attributes:
        fitness: Quality over the full table's.
        metrics: ``recall@k`` and ``ndcg@k`` by name.
        seconds: Seconds that it took.
    """

    fitness: float
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class ProbeRecord:
    """A probed action and what was measured.

    Attributes:
        iteration: Number of the probe, from 0.
        budget: Name of the budget.
        strategy: How the action was chosen.
        action: The action.
        predicted_fitness: What the predictor expected.
        fitness: Quality over the full table's, on the probes' share of the users.
        metrics: ``recall@k`` and ``ndcg@k`` by name; empty if the probe failed.
        seconds: Seconds that it took.
        rank: Which of the devices measured it.
        failed: Whether its loss left the numbers.
        tuned: Longer probes by the weights that they started from.
        kept: What the budget was spent on.
    """

    iteration: int
    budget: str
    strategy: str
    action: Action
    predicted_fitness: float
    fitness: float
    metrics: Mapping[str, float]
    seconds: float
    rank: int = 0
    failed: bool = False
    tuned: Mapping[str, TunedRecord] = field(default_factory=dict)
    kept: KeptForm = "table"

    @classmethod
    def of(
        cls, proposal: Proposal, budget: str, fitness: float, outcome: Outcome, rank: int, kept: KeptForm
    ) -> ProbeRecord:
        """Record what became of a proposal."""
        return cls(
            proposal.iteration,
            budget,
            proposal.strategy,
            proposal.action,
            proposal.predicted_fitness,
            fitness,
            dict(outcome.metrics),
            outcome.seconds,
            rank,
            outcome.failed,
            kept=kept,
        )

    @property
    def draw(self) -> Draw:
        """What the action was made from."""
        return self.action.draw

    @property
    def params(self) -> int:
        """Parameters of the action."""
        return self.action.params

    def with_tuned(self, start: str, tuned: TunedRecord) -> ProbeRecord:
        """Return the record with a longer probe added."""
        return replace(self, tuned={**self.tuned, start: tuned})

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: value for name, value in vars(self).items() if name not in ("action", "tuned")}
        longer = {"tuned": {start: asdict(each) for start, each in self.tuned.items()}} if self.tuned else {}
        return {**values, **self.action.as_dict(), **longer}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProbeRecord:
        """Read what ``as_dict`` wrote.

        Raises:
            KeyError: If a value is missing.
            TypeError: If one is of another type.
        """
        values = {"kept": "table", **values}  # what version 0.1 wrote has none
        fields = {name: values[name] for name in cls.__dataclass_fields__ if name not in ("action", "tuned")}
        tuned = {start: TunedRecord(**each) for start, each in values.get("tuned", {}).items()}
        return cls(**fields, action=Action.from_dict(values), tuned=tuned)
