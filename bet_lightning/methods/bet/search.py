"""BET's search loop, asked for an action to probe and told what the probe measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from bet_lightning.search.action import Action
from bet_lightning.search.selection import Selection, select_candidate, strategy_at
from bet_lightning.search.set_predictor import SetPredictor
from bet_lightning.search.training import ActionFitness, fitness_loss, fitness_optimizer

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

    def as_record(self, fitness: float) -> dict[str, Any]:
        """A line of ``actions.jsonl``, but for what else was measured."""
        return {
            "iteration": self.iteration,
            "strategy": self.strategy,
            **self.action.as_dict(),
            "predicted_fitness": self.predicted_fitness,
            "fitness": fitness,
        }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {**vars(self), "action": self.action._asdict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Proposal":
        """Read what ``state_dict`` wrote."""
        return cls(**{**state, "action": Action(**state["action"])})


class Candidates(Protocol):
    """Actions to choose from."""

    @property
    def sets(self) -> tuple[Tensor, Tensor]:
        """What the predictor sees of the users' and of the items' sizes, an action a row."""

    def at(self, index: int) -> Action:
        """One of the actions."""


class Sampler(Protocol):
    """Draws actions that spend the budget to the last parameter.

    Attributes:
        by_popularity: Whether they are the paper's, whose sizes follow popularity.
    """

    by_popularity: ClassVar[bool]

    @property
    def cap(self) -> int:
        """The budget."""

    def covers(self, action: Action) -> bool:
        """Whether an action is of this sampler's family and within its bounds, but for the budget."""

    def with_cap(self, cap: int) -> "Sampler":
        """The same sampler for another budget."""

    def sample(self, num_actions: int, generator: torch.Generator, best: Sequence[Action] = ()) -> Candidates:
        """Draw actions; ``best`` are the best measured so far, of this budget and of others."""

    def sets_of(self, actions: Sequence[Action]) -> tuple[Tensor, Tensor]:
        """What the predictor sees of actions of this sampler's family, whatever their budget."""


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
        self.num_earlier = 0  # of them, those that were measured for earlier budgets

    def propose(self, place: int = 0) -> Proposal:
        """Draw candidates, rank them and choose the one to probe.

        Args:
            place: How many proposals there are already whose fitness is not known yet.
        """
        iteration = len(self.probed) + place
        own = iteration - self.num_earlier
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
        index = select_candidate(strategy, predicted, encoded, best_encoded, self.selection_generator)
        return Proposal(iteration, strategy, candidates.at(index), float(predicted[index]))

    def observe(self, proposal: Proposal, fitness: float) -> float:
        """Add a measured pair to the population and update the predictor.

        Returns:
            The predictor's loss before its last update.
        """
        self.probed.append((proposal, fitness))
        proposals, measured = zip(*self.probed, strict=True)
        pairs = ActionFitness(*self._sets([p.action for p in proposals]), torch.tensor(measured, dtype=torch.float32))
        loss = torch.zeros(())
        for _ in range(self.num_updates):
            self.optimizer.zero_grad()
            loss = fitness_loss(self.predictor, pairs)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
        return float(loss.detach())

    def leaders(self, sampler: Sampler) -> list[tuple[Proposal, float]]:
        """The pairs of highest fitness of a sampler's family, one of its own budget or the nearest, then of others."""
        leaders: dict[int, tuple[Proposal, float]] = {}
        for pair in self.probed:
            action = pair[0].action
            if sampler.covers(action):
                leaders[action.params] = max(leaders.get(action.params, pair), pair, key=lambda pair: pair[1])
        return [leaders[cap] for cap in sorted(leaders, key=lambda cap: abs(cap - sampler.cap))][:_LEADERS]

    def _sets(self, actions: Sequence[Action]) -> tuple[Tensor, Tensor]:
        """What the predictor sees of actions: every family's by a sampler of its own."""
        families = {sampler.by_popularity: sampler for sampler in self.samplers}
        members = {kind: [i for i, a in enumerate(actions) if a.by_popularity == kind] for kind in (False, True)}
        seen = [families[kind].sets_of([actions[i] for i in index]) for kind, index in members.items() if index]
        order = torch.tensor(members[False] + members[True]).argsort()
        users, items = (torch.cat(side)[order] for side in zip(*seen, strict=True))
        return users, items

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier search of the same families measured and learned, whatever its budgets were.

        Raises:
            LookupError: If it had an action of a family that this search has not.
        """
        self.load_state_dict(state)
        self._sets([proposal.action for proposal, _ in self.probed])
        self.num_earlier = len(self.probed)

    def state_dict(self) -> dict[str, Any]:
        """Population, predictor, optimiser and generators, as tensors and plain values."""
        return {
            "probed": [(proposal.state_dict(), fitness) for proposal, fitness in self.probed],
            "num_earlier": self.num_earlier,
            "predictor": self.predictor.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "sampler_generator": self.sampler_generator.get_state(),
            "selection_generator": self.selection_generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.probed = [(Proposal.from_state(values), fitness) for values, fitness in state["probed"]]
        self.num_earlier = state["num_earlier"]
        self.predictor.load_state_dict(state["predictor"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.sampler_generator.set_state(state["sampler_generator"])
        self.selection_generator.set_state(state["selection_generator"])
