"""The order of BET's trainings: pretrain, probe by probe, then retrain. Knows no Lightning and no data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bet_lightning.ranking import quality
from bet_lightning.search.search import BudgetedSearch, Proposal
from bet_lightning.search.trial import Phase, Trial

FULL, BET = "full", "bet"  # names of the results of the full table and of the search


class TrainingPlan:
    """Gives one trial after another and learns from each.

    Args:
        search: The search over actions.
        orders: User rows (num_users,) and item rows (num_items,) from the most to the least popular.
        rules: Names and sizes that are trained without a search.
        num_iterations: Probes; without any, the plan is the full table and the rules.
        probe_epochs: Epochs of a probe.
        num_retrain: Actions retrained from scratch.
        max_epochs: Epochs at most of pretraining and of each retraining.
        eval_every: Epochs between their validations.
        patience: Validations without a gain that end them.
        rules_only: Train the rules and nothing else.
    """

    def __init__(
        self,
        search: BudgetedSearch,
        orders: tuple[Tensor, Tensor],
        rules: Sequence[tuple[str, Tensor]],
        *,
        num_iterations: int,
        probe_epochs: int,
        num_retrain: int,
        max_epochs: int,
        eval_every: int,
        patience: int,
        rules_only: bool = False,
    ) -> None:
        self.search = search
        self.orders = orders
        self.num_iterations, self.probe_epochs, self.num_retrain = num_iterations, probe_epochs, num_retrain
        self.max_epochs, self.eval_every, self.patience = max_epochs, eval_every, patience
        self.proposal: Proposal | None = None
        self.full_quality = 0.0
        self.pretrained: dict[str, Tensor] = {}
        self.best_bet = -1.0
        self.records: list[dict[str, Any]] = []
        self.queue: list[tuple[str, Tensor]] = list(rules)
        self.done: list[tuple[str, int]] = []
        if rules_only:
            self.num_iterations = 0
            self.trial = self._long_trial("retrain", *self.queue.pop(0))
        else:
            full = torch.full((sum(map(len, orders)),), search.sampler.max_size)
            self.trial = self._long_trial("pretrain", FULL, full)

    def advance(self) -> Trial | None:
        """Take the finished trial into account and give the next one, or None at the end."""
        trial = self.trial
        self.done.append((trial.phase, trial.epoch))
        if trial.phase == "pretrain":
            self.full_quality, self.pretrained = quality(trial.best_probe_metrics), trial.best_weights
        elif trial.phase == "probe":
            self._learn(trial)
        elif trial.name == BET:
            self.best_bet = max(self.best_bet, trial.quality)
        following = self._next()
        if following is not None:
            self.trial = following
        return following

    def wins(self, trial: Trial) -> bool:
        """Whether a finished trial is the best of its name so far, and so its result."""
        return trial.name != BET or trial.quality > self.best_bet

    def _next(self) -> Trial | None:
        if len(self.search.probed) < self.num_iterations:
            self.proposal = self.search.propose()
            sizes = self.proposal.action.sizes(*self.orders)
            return Trial("probe", "probe", sizes, self.probe_epochs, eval_every=self.probe_epochs)
        if self.proposal is not None:  # the last probe is over
            self.proposal = None
            best = self.search.best(self.num_retrain)
            actions = [(BET, p.action.sizes(*self.orders)) for p, _ in best]
            self.queue = actions + self.queue
        return self._long_trial("retrain", *self.queue.pop(0)) if self.queue else None

    def _learn(self, trial: Trial) -> None:
        assert self.proposal is not None  # a probe has one
        fitness = trial.quality / self.full_quality if self.full_quality > 0 else 0.0
        self.search.observe(self.proposal, fitness)
        proposal = self.proposal
        self.records.append(
            {
                "iteration": proposal.iteration,
                "strategy": proposal.strategy,
                **proposal.action.as_dict(),
                "predicted_fitness": proposal.predicted_fitness,
                "fitness": fitness,
                "metrics": trial.best_metrics,
                "seconds": trial.seconds,
            }
        )

    def _long_trial(self, phase: Phase, name: str, sizes: Tensor) -> Trial:
        return Trial(phase, name, sizes, self.max_epochs, self.eval_every, self.patience)

    @property
    def best_fitness(self) -> float | None:
        """Fitness of the best action so far; None before the first probe."""
        return self.search.best(1)[0][1] if self.search.probed else None

    @property
    def epochs_left(self) -> int:
        """Epochs still to come, as far as the trainings so far tell."""
        trial = self.trial
        long = [epochs for phase, epochs in self.done if phase != "probe"]
        typical = round(sum(long) / len(long)) if long else trial.max_epochs
        probes_left = self.num_iterations - len(self.search.probed) - (trial.phase == "probe")
        retrains = len(self.queue)
        if self.num_iterations and (self.proposal is not None or trial.phase == "pretrain"):
            retrains += min(self.num_retrain, self.num_iterations)
        current = trial.max_epochs - trial.epoch if trial.phase == "probe" else max(1, typical - trial.epoch)
        return current + probes_left * self.probe_epochs + retrains * typical

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values."""
        return {
            "search": self.search.state_dict(),
            "trial": self.trial.state_dict(),
            "proposal": self.proposal.as_dict() if self.proposal else None,
            **{name: getattr(self, name) for name in self._PLAIN},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.search.load_state_dict(state["search"])
        self.trial = Trial(**state["trial"])
        self.proposal = Proposal.from_dict(state["proposal"]) if state["proposal"] else None
        for name in self._PLAIN:
            setattr(self, name, state[name])

    _PLAIN = ("full_quality", "pretrained", "best_bet", "records", "queue", "done")
