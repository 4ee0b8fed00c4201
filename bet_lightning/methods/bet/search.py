"""BET's search loop, asked for an action to probe and told what the probe measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bet_lightning.methods.bet.action import Action, Sets
from bet_lightning.methods.bet.fitting import ActionFitness, fitness_loss, fitness_optimizer
from bet_lightning.methods.bet.selection import Selection, rank_candidates, strategy_at
from bet_lightning.methods.bet.set_predictor import SetPredictor

_LEADERS = 4  # actions that candidates are drawn around


@dataclass(frozen=True)
class Proposal:
    """An action chosen for a probe.

    Attributes:
        iteration: Iteration, from 0.
        strategy: How it was chosen.
        action: The action.
        predicted_fitness: What the predictor expects of it.
    """

    iteration: int
    strategy: str
    action: Action
    predicted_fitness: float

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        return {**vars(self), "action": self.action.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Proposal:
        """Read what ``state_dict`` wrote."""
        return cls(**{**state, "action": Action.from_state(state["action"])})


class Candidates(Protocol):
    """Actions to choose from."""

    @property
    def sets(self) -> Sets:
        """What the predictor sees of them."""

    def at(self, index: int) -> Action:
        """Return one of the actions."""


class Sampler(Protocol):
    """Draws actions of one family that spend the budget to the last parameter."""

    @property
    def cap(self) -> int:
        """The budget, in its own unit: what :attr:`Action.amount` is of its actions."""

    def covers(self, action: Action) -> bool:
        """Whether an action is of this sampler's family and within its bounds, whatever its budget."""

    def describes(self, action: Action) -> bool:
        """Whether :meth:`sets_of` takes an action."""

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> Candidates:
        """Draw actions; ``best`` are the best measured so far, of this budget and of others."""

    def sets_of(self, actions: Sequence[Action]) -> Sets:
        """Return what the predictor sees of actions that this sampler describes, whatever their budget."""


class BudgetedSearch:
    """The search over table-level actions: sample, rank, (probe elsewhere), learn.

    Args:
        samplers: Draw candidates, each within a budget and of a family; the iterations take turns.
        predictor: Ranks them; trained here.
        num_candidates: Candidates an iteration, m.
        num_updates: Predictor updates an iteration, N, each on all pairs measured so far.
        selection: ``mixed`` as in the paper, or one strategy throughout.
        num_random: First iterations, whose candidates are picked at random instead and drawn anywhere.
        lr: Learning rate of the predictor.
        lr_decay: Its factor an update.
        min_lr: Its floor.
        seed: Seed of the candidates, the selection and the predictor's weights.
    """

    def __init__(
        self,
        samplers: Sequence[Sampler],
        predictor: SetPredictor,
        num_candidates: int = 100,
        num_updates: int = 2,
        selection: Selection = "mixed",
        num_random: int = 0,
        lr: float = 0.01,
        lr_decay: float = 0.9,
        min_lr: float = 0.002,
        seed: int = 0,
    ) -> None:
        self.samplers, self.predictor = samplers, predictor
        self.num_candidates, self.num_updates = num_candidates, num_updates
        self.selection, self.num_random = selection, num_random
        predictor.reset_parameters(torch.Generator().manual_seed(seed))
        self.optimizer, self.scheduler = fitness_optimizer(predictor, lr, lr_decay, min_lr)
        self.sampler_generator = torch.Generator().manual_seed(seed + 1)
        self.selection_generator = torch.Generator().manual_seed(seed + 2)
        self.probed: list[tuple[Proposal, float]] = []
        self._seen: list[Sets] = []  # what the predictor sees of each of them, as far as it was asked
        self.num_earlier = 0  # of them, those that were measured for earlier budgets
        self.num_given = 0  # of the others, those that were not drawn

    def propose(self, pending: Sequence[Proposal] = ()) -> Proposal:
        """Draw candidates, rank them and choose the one to probe, none that was probed before.

        Args:
            pending: Proposals whose fitness is not known yet.
        """
        iteration = len(self.probed) + len(pending)
        own = iteration - self.num_earlier - self.num_given
        sampler = self.samplers[own % len(self.samplers)]
        exploring = own < self.num_random
        turn = (own - self.num_random) // len(self.samplers)  # each budget goes through all strategies
        strategy = "random" if exploring else strategy_at(turn, self.selection)
        best = [] if exploring else [proposal.action for proposal, _ in self.leaders(sampler)]
        candidates = sampler.sample(self.num_candidates, self.sampler_generator, best)
        encoded = self.predictor.encode_all(*candidates.sets)
        with torch.no_grad():
            predicted = self.predictor.predict_from(encoded)
            best_encoded = self.predictor.encode(*sampler.sets_of(best[:1]))[0] if best else None
        order = rank_candidates(strategy, predicted, encoded, best_encoded, self.selection_generator)
        known = {proposal.action.key for proposal in (*(pair[0] for pair in self.probed), *pending)}
        for index in order:
            action = candidates.at(index)
            if action.key not in known:
                return Proposal(iteration, strategy, action, float(predicted[index]))
        # every candidate was probed before: there are no others nearby
        return Proposal(iteration, strategy, candidates.at(order[0]), float(predicted[order[0]]))

    def given(self, action: Action, pending: Sequence[Proposal] = ()) -> Proposal:
        """Return the proposal of an action that is not drawn: its turn does not count."""
        with torch.no_grad():
            predicted = self.predictor(*self._sets(action))
        return Proposal(len(self.probed) + len(pending), "given", action, float(predicted[0]))

    def observe(self, proposal: Proposal, fitness: float) -> float:
        """Add a measured pair to the population and update the predictor.

        Returns:
            The predictor's loss before its last update.
        """
        self.probed.append((proposal, fitness))
        self.num_given += proposal.strategy == "given"
        self._seen += [self._sets(pair[0].action) for pair in self.probed[len(self._seen) :]]
        seen = Sets(*(torch.cat(side) for side in zip(*self._seen, strict=True)))
        pairs = ActionFitness(*seen, torch.tensor([pair[1] for pair in self.probed], dtype=torch.float32))
        loss = torch.zeros(())
        for _ in range(self.num_updates):
            self.optimizer.zero_grad()
            loss = fitness_loss(self.predictor, pairs)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
        return float(loss.detach())

    def leaders(self, sampler: Sampler) -> list[tuple[Proposal, float]]:
        """Return the fittest pairs of a sampler's family: of its own or the nearest budget, then of others."""
        leaders: dict[int, tuple[Proposal, float]] = {}
        for pair in self.probed:
            action = pair[0].action
            if sampler.covers(action):
                leaders[action.amount] = max(leaders.get(action.amount, pair), pair, key=lambda pair: pair[1])
        return [leaders[cap] for cap in sorted(leaders, key=lambda cap: abs(cap - sampler.cap))][:_LEADERS]

    def _sets(self, action: Action) -> Sets:
        """What the predictor sees of an action, by the first sampler that describes it.

        Raises:
            LookupError: If none does.
        """
        for sampler in self.samplers:
            if sampler.describes(action):
                return sampler.sets_of([action])
        raise LookupError(f"no family here knows actions of the kind {action.draw.kind}")

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier search of the same families measured and learned, whatever its budgets were.

        Raises:
            LookupError: If it had an action of a family that this search has not.
        """
        self.load_state_dict(state)
        for proposal, _ in self.probed:
            known = any(sampler.covers(proposal.action) for sampler in self.samplers)
            if not known and proposal.strategy != "given":
                self._sets(proposal.action)
        self.num_earlier = len(self.probed)
        self.num_given = 0

    def state_dict(self) -> dict[str, Any]:
        """Return population, predictor, optimiser and generators, as tensors and plain values."""
        return {
            "probed": [(proposal.state_dict(), fitness) for proposal, fitness in self.probed],
            "num_earlier": self.num_earlier,
            "num_given": self.num_given,
            "predictor": self.predictor.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "sampler_generator": self.sampler_generator.get_state(),
            "selection_generator": self.selection_generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.probed = [(Proposal.from_state(values), fitness) for values, fitness in state["probed"]]
        self._seen = []
        self.num_earlier = state["num_earlier"]
        self.num_given = state["num_given"]
        self.predictor.load_state_dict(state["predictor"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.sampler_generator.set_state(state["sampler_generator"])
        self.selection_generator.set_state(state["selection_generator"])
