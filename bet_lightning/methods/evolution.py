"""Evolution of a size for users and one for items, every one of which can spend a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from bet_lightning.methods.tasks import require_at_least

Pair = tuple[int, int]  # sizes of users and of items


@dataclass(frozen=True)
class EvolutionSettings:
    """How pairs of sizes are found.

    Args:
        generations: Generations (paper: 30).
        num_mutations: Mutants of a generation (paper: 10).
        num_crossovers: Crossovers of a generation (paper: 10).
        mutation_rate: Probability that a mutant's size is drawn again (paper: 0.1).
        user_share: Share of the validation users that a pair is evaluated on.

    Raises:
        ValueError: If a value is out of range.
    """

    generations: int = 30
    num_mutations: int = 10
    num_crossovers: int = 10
    mutation_rate: float = 0.1
    user_share: float = 1.0

    def __post_init__(self) -> None:
        require_at_least(self, 1, "generations", "num_mutations")
        require_at_least(self, 0, "num_crossovers")
        for name in ("mutation_rate", "user_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"search.method.evolution.{name} must be in (0, 1], got {getattr(self, name)}")

    @property
    def population(self) -> int:
        """Pairs of a generation."""
        return self.num_mutations + self.num_crossovers


class PairSpace(NamedTuple):
    """The pairs of sizes with which a full table spends a cap.

    Attributes:
        num_users: Rows of users.
        num_items: Rows of items.
        width: Largest size.
        cap: Parameters to be spent, at most ``width`` a row.
    """

    num_users: int
    num_items: int
    width: int
    cap: int

    def raised(self, pair: Pair) -> Pair:
        """Return a pair as it is if it spends the cap, or else with larger sizes of items, then of users."""
        users, items = pair
        items = min(max(items, -(-(self.cap - users * self.num_users) // self.num_items)), self.width)
        return max(users, -(-(self.cap - items * self.num_items) // self.num_users)), items

    def all(self) -> list[Pair]:
        """Return every pair that spends the cap."""
        sizes = range(1, self.width + 1)
        return [(users, items) for users in sizes for items in sizes if self.raised((users, items)) == (users, items)]

    def first_generation(self, settings: EvolutionSettings, generator: np.random.Generator) -> list[Pair]:
        """Draw pairs uniformly; those that do not spend the cap are raised."""
        drawn = generator.integers(1, self.width + 1, size=(settings.population, 2)).tolist()
        return [self.raised((users, items)) for users, items in drawn]

    def next_generation(
        self, ranked: Sequence[Pair], settings: EvolutionSettings, generator: np.random.Generator
    ) -> list[Pair]:
        """Return mutants of the best pairs, and crossovers: the users' size of one, the items' of another.

        Args:
            ranked: The last generation, the best first.
            settings: How many there are of each, and how often a size mutates.
            generator: Source of randomness.
        """
        children: list[Pair] = []
        for parent in islice(cycle(ranked), settings.num_mutations):
            mutates = generator.random(2) < settings.mutation_rate
            drawn = generator.integers(1, self.width + 1, size=2)
            users, items = (int(new) if now else old for old, new, now in zip(parent, drawn, mutates, strict=True))
            children.append((users, items))
        best = ranked[: settings.num_crossovers + 1]
        for first, second in generator.integers(len(best), size=(settings.num_crossovers, 2)).tolist():
            children.append((best[first][0], best[second][1]))
        return [self.raised(child) for child in children]
