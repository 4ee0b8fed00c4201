"""The order of BET's trainings: pretrain, probe by probe, then retrain. Knows no Lightning and no data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bet_lightning.ranking import quality
from bet_lightning.search.action import Action
from bet_lightning.search.finalists import choose_finalists
from bet_lightning.search.search import BudgetedSearch, Proposal
from bet_lightning.search.trial import Phase, Start, Trial

FULL, BET = "full", "bet"  # names of the results of the full table and of the search
RetrainInit = Literal["fresh", "warm", "both"]


class Training(NamedTuple):
    """A retraining to come.

    Attributes:
        name: Name of its result.
        sizes: (num_rows,) int64 parameters a row.
        cap: The budget that they are to stay within.
        start: Weights that it starts from.
    """

    name: str
    sizes: Tensor
    cap: int
    start: Start


class TrainingPlan:
    """Gives one trial after another and learns from each.

    Args:
        orders: User rows (num_users,) and item rows (num_items,) from the most to the least popular.
        budgets: Caps, and the names of the results that the search finds for them.
        rules: Names, sizes and caps that are trained without a search.
        max_size: Largest size of a row.
        num_iterations: Probes; without any, the plan is the full table and the rules.
        probe_epochs: Epochs of a probe; 0 ranks the masked table as it is.
        num_tuned: Actions, of each budget, that ``choose_finalists`` takes to be probed once more, for ``tune_epochs``
            and from the weights that their retraining starts from.
        tune_epochs: Epochs of these probes.
        num_retrain: Actions retrained, of each budget.
        retrain_init: Weights that a retraining starts from: fresh ones as in the paper, the masked pre-trained ones
            (warm), or one after the other; then the better one on validation is the result.
        max_epochs: Epochs at most of pretraining and of each retraining.
        eval_every_n_epochs: Epochs between their validations.
        patience: Validations without a gain that end them.
        rules_only: Train the rules and nothing else.
    """

    def __init__(
        self,
        orders: tuple[Tensor, Tensor],
        budgets: Mapping[int, str],
        rules: Sequence[tuple[str, Tensor, int]],
        *,
        max_size: int,
        num_iterations: int,
        probe_epochs: int,
        num_tuned: int,
        tune_epochs: int,
        num_retrain: int,
        retrain_init: RetrainInit,
        max_epochs: int,
        eval_every_n_epochs: int,
        patience: int,
        rules_only: bool = False,
    ) -> None:
        self.orders, self.budgets = orders, budgets
        self.num_iterations, self.probe_epochs = num_iterations, probe_epochs
        self.num_tuned, self.tune_epochs, self.num_retrain = num_tuned, tune_epochs, num_retrain
        self.starts: tuple[Start, ...] = ("fresh", "warm") if retrain_init == "both" else (retrain_init,)
        self.max_epochs, self.eval_every, self.patience = max_epochs, eval_every_n_epochs, patience
        self.search: BudgetedSearch | None = None
        self.proposal: Proposal | None = None
        self.full_quality = 0.0
        self.pretrained: dict[str, Tensor] = {}
        self.records: list[dict[str, Any]] = []
        self.earlier: list[dict[str, Any]] = []  # probes of these budgets by a search that is gone on from
        self.seconds_to_begin = 0.0
        self.finalists: list[tuple[int, Start]] | None = None  # iterations still to be tuned, once they are known
        self.chosen = False  # whether the actions to retrain are
        self.queue = self._by_start(rules)
        self.best: dict[str, float] = {}
        self.done: list[tuple[str, int]] = []
        if rules_only:
            self.num_iterations = 0
        if rules_only and "warm" not in self.starts:
            self.trial = self._long_trial("retrain", self.queue.pop(0))
        else:
            full = torch.full((sum(map(len, orders)),), max_size)
            self.trial = self._long_trial("pretrain", Training(FULL, full, int(full.sum()), "fresh"))

    def begin_search(self, search: BudgetedSearch, seconds: float = 0.0) -> None:
        """Take the search, once pretraining is over; probes start from the best weights that it reached.

        Args:
            search: The search, which may have probed before.
            seconds: Seconds that it took to begin it.
        """
        self.seconds_to_begin = seconds
        candidates = [pair for pair in search.probed if any(s.covers(pair[0].action) for s in search.samplers)]
        self.earlier = [_as_record(*pair) for pair in candidates if pair[0].action.params in self.budgets]
        self.search, self.pretrained = search, self.trial.best_weights
        self.full_quality = quality(self.trial.best_probe_metrics)

    def advance(self) -> Trial | None:
        """Take the finished trial into account and give the next one, or None at the end."""
        trial = self.trial
        self.done.append((trial.phase, trial.epoch))
        if trial.phase == "probe":
            self._learn(trial)
        elif trial.phase == "tune":
            assert self.finalists  # the one that was tuned is the first
            index, start = self.finalists.pop(0)
            found = {"fitness": self._fitness(trial), "metrics": trial.best_metrics, "seconds": trial.seconds}
            self._record(index).setdefault("tuned", {})[start] = found
        else:
            for name in self.result_names(trial):
                self.best[name] = max(self.best.get(name, -1.0), trial.quality)
        following = self._next()
        if following is not None:
            self.trial = following
        return following

    def result_names(self, trial: Trial) -> list[str]:
        """Results that a finished training may become: under its own name, and by its start where there are two."""
        two_starts = trial.phase == "retrain" and len(self.starts) > 1
        return [trial.name, f"{trial.name}_{trial.start}"] if two_starts else [trial.name]

    def training_names(self, names: Sequence[str]) -> list[str]:
        """Names of the retrainings behind results: those of their starts, where there are two."""
        return [f"{name}_{start}" for name in names for start in self.starts] if len(self.starts) > 1 else list(names)

    def wins(self, name: str, trial: Trial) -> bool:
        """Whether a finished trial is the best of a name so far, and so its result."""
        return trial.quality > self.best.get(name, -1.0)

    @property
    def starts_warm(self) -> bool:
        """Whether any training starts from the pre-trained weights: every probe does."""
        return self.num_iterations > 0 or "warm" in self.starts

    def _next(self) -> Trial | None:
        search = self.search
        if search and len(self.records) < self.num_iterations:
            self.proposal = search.propose()
            return self._probe("probe", self.proposal.action, self.probe_epochs)
        self.proposal = None
        if search and not self.chosen:
            if self.finalists is None:
                self.finalists = [
                    (index, start)
                    for cap in self.budgets
                    for start in self.starts
                    for index in self._promising(cap, start)
                ]
            if self.finalists:
                index, start = self.finalists[0]
                return self._probe("tune", search.probed[index][0].action, self.tune_epochs, start)
            self.chosen = True
            self.queue = [
                Training(name, search.probed[index][0].action.sizes(*self.orders), cap, start)
                for cap, name in self.budgets.items()
                for start in self.starts
                for index in self._best(cap, start)
            ] + self.queue
        return self._long_trial("retrain", self.queue.pop(0)) if self.queue else None

    def _promising(self, cap: int, start: Start) -> list[int]:
        """Iterations of a budget whose actions are worth a longer probe, from one of the starts."""
        records = [record for record in self._ranked if record["params"] == cap]
        return [record["iteration"] for record in choose_finalists(records, self.num_tuned, start)]

    def _best(self, cap: int, start: Start) -> list[int]:
        """Iterations of a budget whose actions are to be retrained from one of the starts, the best first."""
        records = [record for record in self._ranked if record["params"] == cap]
        if self.num_tuned:
            records = [record for record in records if start in record.get("tuned", {})]
            records.sort(key=lambda record: -record["tuned"][start]["fitness"])
        return [record["iteration"] for record in records[: self.num_retrain]]

    def _record(self, iteration: int) -> dict[str, Any]:
        return next(record for record in self.records + self.earlier if record["iteration"] == iteration)

    @property
    def _ranked(self) -> list[dict[str, Any]]:
        """Probes by fitness, the best first."""
        return sorted(self.records + self.earlier, key=lambda record: -record["fitness"])

    def _fitness(self, trial: Trial) -> float:
        return trial.quality / self.full_quality if self.full_quality > 0 else 0.0

    def _learn(self, trial: Trial) -> None:
        proposal, fitness = self.proposal, self._fitness(trial)
        assert self.search and proposal  # a probe has both
        self.search.observe(proposal, fitness)
        measured = {"metrics": trial.best_metrics, "seconds": trial.seconds}
        self.records.append(_as_record(proposal, fitness) | measured)

    def _probe(self, phase: Phase, action: Action, epochs: int, start: Start = "warm") -> Trial:
        sizes = action.sizes(*self.orders)
        return Trial(phase, phase, sizes, action.params, epochs, eval_every=max(1, epochs), start=start)

    def _long_trial(self, phase: Phase, training: Training) -> Trial:
        name, sizes, cap, start = training
        return Trial(phase, name, sizes, cap, self.max_epochs, self.eval_every, self.patience, start)

    def _by_start(self, named: Sequence[tuple[str, Tensor, int]]) -> list[Training]:
        return [Training(*each, start) for each in named for start in self.starts]

    @property
    def label(self) -> str:
        """What the trial is, in one or two words."""
        trial = self.trial
        return f"retrain {self.result_names(trial)[-1]}" if trial.phase == "retrain" else trial.phase

    @property
    def status(self) -> str:
        """What is going on, in a few words."""
        done = ""
        if self.trial.phase == "probe":
            done = f" {len(self.records) + 1}/{self.num_iterations}"
        elif self.trial.phase == "tune" and self.finalists:
            tuned = sum(len(record.get("tuned", {})) for record in self.records)
            done = f" {tuned + 1}/{tuned + len(self.finalists)}"
        return f"{self.label}{done}, epoch {self.trial.epoch + 1}"

    @property
    def best_fitness(self) -> float | None:
        """Fitness of the best action so far within the first budget; None before the first probe."""
        first = next(iter(self.budgets))
        return max((record["fitness"] for record in self.records if record["params"] == first), default=None)

    @property
    def epochs_left(self) -> int:
        """Epochs still to come, as far as the trainings so far tell."""
        trial = self.trial
        long = [epochs for phase, epochs in self.done if phase in ("pretrain", "retrain")]
        typical = round(sum(long) / len(long)) if long else trial.max_epochs
        is_long = trial.phase in ("pretrain", "retrain")
        left = max(1, typical - trial.epoch) if is_long else trial.max_epochs - trial.epoch
        retrains = len(self.queue)
        if self.num_iterations and not self.chosen:
            probes = self.num_iterations - len(self.records) - (trial.phase == "probe")
            count = len(self.budgets)
            tuned = min(self.num_tuned * count, self.num_iterations) * len(self.starts)
            tuned = tuned if self.finalists is None else len(self.finalists) - 1
            left += probes * self.probe_epochs + tuned * self.tune_epochs
            retrains += min(self.num_retrain * count, self.num_iterations) * len(self.starts)
        return left + retrains * typical

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values."""
        return {
            "search": self.search.state_dict() if self.search else None,
            "trial": self.trial.state_dict(),
            "proposal": self.proposal.state_dict() if self.proposal else None,
            "queue": [tuple(training) for training in self.queue],
            **{name: getattr(self, name) for name in self._PLAIN},
        }

    def load_state_dict(self, state: Mapping[str, Any], search: BudgetedSearch | None) -> None:
        """Continue from ``state_dict``, with a search like the one that it was taken from, if there was one."""
        if search:
            search.load_state_dict(state["search"])
        self.search = search
        self.trial = Trial(**state["trial"])
        self.proposal = Proposal.from_state(state["proposal"]) if state["proposal"] else None
        self.queue = [Training(*training) for training in state["queue"]]
        for name in self._PLAIN:
            setattr(self, name, state[name])

    _PLAIN = (
        *("full_quality", "pretrained", "records", "earlier", "seconds_to_begin"),
        *("finalists", "chosen", "best", "done"),
    )


def _as_record(proposal: Proposal, fitness: float) -> dict[str, Any]:
    return {
        "iteration": proposal.iteration,
        "strategy": proposal.strategy,
        **proposal.action.as_dict(),
        "predicted_fitness": proposal.predicted_fitness,
        "fitness": fitness,
    }
