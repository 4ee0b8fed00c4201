"""The order of BET's trainings: pretrain, probe by probe, then retrain. Knows no Lightning and no data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bet_lightning.ranking import quality
from bet_lightning.search.action import Action
from bet_lightning.search.finalists import choose_finalists, choose_retrained
from bet_lightning.search.search import BudgetedSearch, Proposal
from bet_lightning.search.trial import Phase, Start, Training, Trial

FULL, BET = "full", "bet"  # names of the results of the full table and of the search
RetrainInit = Literal["fresh", "warm", "both"]
RetrainParallel = Literal["data", "actions"]


class TrainingPlan:
    """Gives one round of trials after another and learns from each.

    With several ranks a round has one trial for each, of which ``trial`` is this rank's; what all ranks train together
    is a round of one. The plans of all ranks learn from whole rounds and so stay the same, but for ``trial``.

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
        rank: Which of the ranks this is.
        world_size: How many ranks there are, each probing actions of its own.
        retrain_parallel: What ranks share in retraining: the ``data`` of one after another, or the ``actions``.

    Attributes:
        round: The trials that the ranks are at.
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
        rank: int = 0,
        world_size: int = 1,
        retrain_parallel: RetrainParallel = "data",
    ) -> None:
        self.orders, self.budgets = orders, budgets
        self.num_iterations, self.probe_epochs = num_iterations, probe_epochs
        self.num_tuned, self.tune_epochs, self.num_retrain = num_tuned, tune_epochs, num_retrain
        self.starts: tuple[Start, ...] = ("fresh", "warm") if retrain_init == "both" else (retrain_init,)
        self.max_epochs, self.eval_every, self.patience = max_epochs, eval_every_n_epochs, patience
        self.rank, self.world_size, self.retrain_parallel = rank, world_size, retrain_parallel
        self.search: BudgetedSearch | None = None
        self.proposals: list[Proposal] = []  # those that the round probes
        self.full_quality = 0.0
        self.pretrained: dict[str, Tensor] = {}
        self.records: list[dict[str, Any]] = []
        self.earlier: list[dict[str, Any]] = []  # probes of these budgets by a search that is gone on from
        self.seconds_to_begin = 0.0
        self.finalists: list[tuple[int, Start]] | None = None  # iterations still to be tuned, once they are known
        self.chosen = False  # whether the actions to retrain are
        self.queue = [Training(*rule, start) for rule in rules for start in self.starts]
        self.best: dict[str, float] = {}
        self.done: list[tuple[str, int]] = []
        if rules_only:
            self.num_iterations = 0
        if rules_only and "warm" not in self.starts:
            self.round = self._retrainings()
        else:
            full = torch.full((sum(map(len, orders)),), max_size)
            self.round = [self._long_trial("pretrain", Training(FULL, full, int(full.sum()), "fresh"))]

    def begin_search(self, search: BudgetedSearch, seconds: float = 0.0) -> None:
        """Take the search, once pretraining is over; probes start from the best weights that it reached.

        Args:
            search: The search, which may have probed before.
            seconds: Seconds that it took to begin it.
        """
        self.seconds_to_begin = seconds
        candidates = [pair for pair in search.probed if any(s.covers(pair[0].action) for s in search.samplers)]
        self.earlier = [p.as_record(found) for p, found in candidates if p.action.params in self.budgets]
        self.search, self.pretrained = search, self.trial.best_weights
        self.full_quality = quality(self.trial.best_probe_metrics)

    @property
    def trial(self) -> Trial:
        """This rank's trial of the round; where there are fewer than ranks, the last ranks repeat the last one."""
        return self.round[min(self.rank, len(self.round) - 1)]

    @property
    def is_shared(self) -> bool:
        """Whether all ranks train the same, each on its share of the data, rather than each its own."""
        phase = self.round[0].phase
        alone = phase in ("probe", "tune") or (phase == "retrain" and self.retrain_parallel == "actions")
        return self.world_size == 1 or not alone

    def take(self, place: int) -> None:
        """Take a finished trial of the round into account; all of them are to be taken, in their order."""
        trial = self.round[place]
        self.done.append((trial.phase, trial.epoch))
        if trial.phase == "probe":
            self._learn(trial, place)
        elif trial.phase == "tune":
            assert self.finalists  # the one that was tuned is the first
            index, start = self.finalists.pop(0)
            found = {"fitness": self._fitness(trial), "metrics": trial.best_metrics, "seconds": trial.seconds}
            self._record(index).setdefault("tuned", {})[start] = found
        else:
            for name in self.result_names(trial):
                self.best[name] = max(self.best.get(name, -1.0), trial.quality)

    def advance(self) -> Trial | None:
        """Begin the next round: this rank's trial, or None at the end."""
        following = self._next()
        if following:
            self.round = following
        return self.trial if following else None

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

    def _next(self) -> list[Trial]:
        search = self.search
        if search and len(self.records) < self.num_iterations:
            count = min(self.world_size, self.num_iterations - len(self.records))
            self.proposals = [search.propose(place) for place in range(count)]
            return [self._probe("probe", proposal.action, self.probe_epochs) for proposal in self.proposals]
        self.proposals = []
        if search and not self.chosen:
            if self.finalists is None:
                self.finalists = [
                    (record["iteration"], start)
                    for cap in self.budgets
                    for start in self.starts
                    for record in choose_finalists(self._ranked(cap), self.num_tuned, start)
                ]
            if self.finalists:
                actions = [(search.probed[index][0].action, start) for index, start in self.finalists]
                return [
                    self._probe("tune", action, self.tune_epochs, start) for action, start in actions[: self.world_size]
                ]
            self.chosen = True
            self.queue = [
                Training(name, search.probed[record["iteration"]][0].action.sizes(*self.orders), cap, start)
                for cap, name in self.budgets.items()
                for start in self.starts
                for record in choose_retrained(self._ranked(cap), self.num_retrain, start, bool(self.num_tuned))
            ] + self.queue
        return self._retrainings()

    def _retrainings(self) -> list[Trial]:
        count = self.world_size if self.retrain_parallel == "actions" else 1
        following, self.queue = self.queue[:count], self.queue[count:]
        return [self._long_trial("retrain", training) for training in following]

    def _record(self, iteration: int) -> dict[str, Any]:
        return next(record for record in self.records + self.earlier if record["iteration"] == iteration)

    def _ranked(self, cap: int) -> list[dict[str, Any]]:
        """Probes of a budget by fitness, the best first."""
        records = [record for record in self.records + self.earlier if record["params"] == cap]
        return sorted(records, key=lambda record: -record["fitness"])

    def _fitness(self, trial: Trial) -> float:
        return trial.quality / self.full_quality if self.full_quality > 0 else 0.0

    def _learn(self, trial: Trial, place: int) -> None:
        proposal, fitness = self.proposals[place], self._fitness(trial)
        assert self.search
        self.search.observe(proposal, fitness)
        measured = {"rank": place, "metrics": trial.best_metrics, "seconds": trial.seconds, "failed": trial.failed}
        self.records.append(proposal.as_record(fitness) | measured)

    def _probe(self, phase: Phase, action: Action, epochs: int, start: Start = "warm") -> Trial:
        sizes = action.sizes(*self.orders)
        return Trial(phase, phase, sizes, action.params, epochs, eval_every=max(1, epochs), start=start)

    def _long_trial(self, phase: Phase, training: Training) -> Trial:
        name, sizes, cap, start = training
        return Trial(phase, name, sizes, cap, self.max_epochs, self.eval_every, self.patience, start)

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
            "round": [trial.state_dict() for trial in self.round],
            "is_shared": self.is_shared,
            "proposals": [proposal.state_dict() for proposal in self.proposals],
            "queue": [tuple(training) for training in self.queue],
            **{name: getattr(self, name) for name in self._PLAIN},
        }

    def load_state_dict(self, state: Mapping[str, Any], search: BudgetedSearch | None) -> bool:
        """Continue from ``state_dict``, with a search like the one that it was taken from, if there was one.

        Returns:
            Whether the trials of the round begin anew: a checkpoint has one rank's weights only.
        """
        if search:
            search.load_state_dict(state["search"])
        self.search = search
        for name in self._PLAIN:
            setattr(self, name, state[name])
        self.round = [Trial(**trial) for trial in state["round"]]
        self.proposals = [Proposal.from_state(proposal) for proposal in state["proposals"]][: self.world_size]
        self.queue = [Training(*training) for training in state["queue"]]
        if state["is_shared"] and self.is_shared:
            return False
        # there may be fewer ranks now; what they leave of probes and finalists comes again without being queued
        left = [trial.training for trial in self.round[self.world_size :] if trial.phase == "retrain"]
        self.queue = left + self.queue
        self.round = [trial.anew() for trial in self.round[: self.world_size]]
        return True

    _PLAIN = (
        *("full_quality", "pretrained", "records", "earlier", "seconds_to_begin"),
        *("finalists", "chosen", "best", "done"),
    )
