"""What a run says of itself, as typed records that are written to JSON and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from bet_lightning.dtypes import Dtype
from bet_lightning.methods.tasks import FULL, Outcome
from bet_lightning.ranking import quality
from bet_lightning.resolved_budget import ResolvedBudget

Metrics = Mapping[str, float]
Stage = Literal["valid", "test"]  # whose metrics are meant


@dataclass(frozen=True)
class BudgetRecord:
    """A budget, resolved.

    Attributes:
        name: As the user gave it.
        unit: ``params`` or ``bytes``.
        params: The cap in parameters.
        bytes: Bytes of a packed table with that many.
        keep_ratio: Share of the full table's parameters.
        dtype: What values are held as; None where the search found it for each result.
        beside: Bytes of the user's number that are not the table's, where it covers a deployment.
    """

    name: str
    unit: str
    params: int
    bytes: int
    keep_ratio: float
    dtype: Dtype | None
    beside: int = 0

    @property
    def label(self) -> str:
        """The budget as people write it: ``10%``, ``5,000 parameters`` or ``2MB``."""
        if self.unit == "bytes":
            return self.name
        return f"{self.params:,} parameters" if self.name == str(self.params) else f"{100 * float(self.name):.10g}%"

    @classmethod
    def of(cls, budget: ResolvedBudget) -> BudgetRecord:
        """Record a budget."""
        return cls(
            budget.name, budget.unit, budget.params, budget.bytes, budget.keep_ratio, budget.dtype, budget.beside
        )


@dataclass(frozen=True)
class ResultRecord:
    """A trained table.

    Attributes:
        name: Its name, unique in the run.
        budget: Name of its budget; None for the full table.
        params: Its parameters.
        bytes: Its bytes, as written.
        valid: Validation metrics by name.
        test: Test metrics by name; empty until ``test``.
        epochs: Epochs that were trained.
        best_epoch: Epoch of the best validation.
        seconds: Seconds that the training took.
        peak_memory_mb: Largest memory of the process so far.
        checkpoint: Its checkpoint within the run folder.
        packed: What its export says, by part.
        dtype: What its values are held as.
        beside: Bytes of its budget that are not the table's, where that covers a deployment.
        trainings: Trainings that competed for its name, of which this was the best.
    """

    name: str
    budget: str | None
    params: int
    bytes: int
    valid: Metrics
    test: Metrics
    epochs: int
    best_epoch: int
    seconds: float
    peak_memory_mb: float
    checkpoint: str
    packed: Mapping[str, Any] = field(default_factory=dict)
    dtype: Dtype = "fp32"
    beside: int = 0
    trainings: int = 1

    def metrics(self, stage: Stage) -> Metrics:
        """Return metrics of validation or test."""
        return self.valid if stage == "valid" else self.test

    @property
    def quality(self) -> float:
        """Mean recall and ndcg on validation; 0 without any."""
        return quality(self.valid) if self.valid else 0.0


@dataclass(frozen=True)
class SearchRecord:
    """What a search cost and found.

    Attributes:
        probes: Probed actions.
        best_fitness: The best fitness; None before the first probe.
        seconds: Seconds of all probes and of the beginning.
        seconds_to_begin: Seconds that it took to begin.
    """

    probes: int = 0
    best_fitness: float | None = None
    seconds: float = 0.0
    seconds_to_begin: float = 0.0


@dataclass(frozen=True)
class RunRecord:
    """The content of ``summary.json``.

    Attributes:
        dataset: Name, counts and hash of the data.
        backbone: Class of the backbone.
        d_max: Largest size of a row, over all tables.
        method: Class of the method.
        budgets: The budgets, the largest first.
        results: Trained tables, in the order of their first training.
        search: What the search cost and found.
        versions: Versions of what ran it.
        seed: Seed of the run.
    """

    dataset: Mapping[str, Any]
    backbone: str
    d_max: int
    method: str
    budgets: tuple[BudgetRecord, ...]
    versions: Mapping[str, str]
    seed: int
    results: tuple[ResultRecord, ...] = ()
    search: SearchRecord = SearchRecord()

    def with_result(self, result: ResultRecord) -> RunRecord:
        """Return the record with a result, in place of one of the same name."""
        if self.result(result.name) is None:
            return replace(self, results=(*self.results, result))
        return replace(self, results=tuple(result if each.name == result.name else each for each in self.results))

    def result(self, name: str) -> ResultRecord | None:
        """Return the result of a name, if there is one."""
        return next((each for each in self.results if each.name == name), None)

    def best(self, budget: str | None = None) -> ResultRecord | None:
        """Return the best result on validation within a budget, whatever made it.

        Args:
            budget: Name of the budget (default: the first one; the full table if there is nothing within it).
        """
        name = budget if budget is not None else self.budgets[0].name
        within = [result for result in self.results if result.budget == name]
        if not within and budget is None:
            within = list(self.results)
        return max(within, key=lambda result: result.quality, default=None)

    def budget_of(self, result: ResultRecord) -> BudgetRecord | None:
        """Return the budget of a result; None for the full table."""
        return next((budget for budget in self.budgets if budget.name == result.budget), None)

    @property
    def full_bytes(self) -> int:
        """Bytes of the full table as float32."""
        rows = int(self.dataset["users"]) + int(self.dataset["items"])
        return 4 * rows * self.d_max

    def share_of_bytes(self, result: ResultRecord) -> float:
        """Return the bytes that a result's budget counts, relative to the full table's as float32."""
        return (result.bytes + result.beside) / self.full_bytes

    @property
    def full(self) -> ResultRecord | None:
        """The full table's result."""
        return self.result(FULL)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """Read what ``as_dict`` wrote, from JSON or from a checkpoint.

        Raises:
            KeyError: If a value is missing.
            TypeError: If one is of another form.
        """
        own = {each.name: values[each.name] for each in fields(cls)}
        own["budgets"] = tuple(BudgetRecord(**each) for each in values["budgets"])
        own["results"] = tuple(ResultRecord(**each) for each in values["results"])
        own["search"] = SearchRecord(**values["search"])
        return cls(**own)


def is_better(outcome: Outcome, kept: ResultRecord | None) -> bool:
    """Whether an outcome takes the place of a result."""
    return kept is None or outcome.quality > kept.quality
