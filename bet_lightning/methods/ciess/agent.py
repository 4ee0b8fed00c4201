"""An agent that chooses the sizes of all users, or of all items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bet_lightning.methods.ciess.replay import Replay
from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.ciess.td3 import TD3, Transitions
from bet_lightning.methods.ciess.walk import SizeWalk

_NUM_FEATURES = 3


class SideAgent:
    r"""Chooses sizes of one side's rows by their popularity, size and quality, all at once.

    A state is :math:`(f, d, q)`, each scaled to [-1, 1]: the row's training interactions, its size in the last
    iteration, and its quality there relative to the full table's. An action is a size, which a repair then changes to
    :math:`d'`; an iteration's reward is :math:`q' - \lambda (d' / d_{max})^2` for the quality q' that this led to.

    Args:
        frequency: ``(n,)`` training interactions.
        low: Smallest size.
        high: Largest size, at which rows begin.
        penalty: :math:`\lambda`.
        num_iterations: How many there will be.
        settings: Constants.
        generator: What draws weights, noise, walks and batches.
    """

    def __init__(
        self,
        frequency: Tensor,
        low: int,
        high: int,
        penalty: float,
        num_iterations: int,
        settings: AgentSettings,
        generator: torch.Generator,
    ) -> None:
        self.low, self.high = low, high
        self.penalty = penalty
        self.settings = settings
        self.generator = generator
        self.popularity = _to_unit(frequency.float(), float(frequency.min()), float(frequency.max()))
        self.walk = SizeWalk(low, high, settings.reach)
        self.replay = Replay(len(frequency), min(settings.memory, num_iterations))
        self.td3 = TD3(_NUM_FEATURES, 2 / (high - low), settings, generator)

    @torch.no_grad()
    def choose(self, sizes: Tensor, ratios: Tensor) -> Tensor:
        """Return sizes for the next iteration: of those that a walk passes, what the first critic values most.

        Args:
            sizes: ``(n,)`` int64 sizes of the last iteration.
            ratios: ``(n,)`` quality in it, relative to the full table's.

        Returns:
            ``(n,)`` int64 in ``low..high``.
        """
        states = self.states(self.popularity, sizes, ratios)
        proto = self.low + (self.td3.networks.act(states) + 1) * (self.high - self.low) / 2
        proto += torch.randn(len(proto), generator=self.generator) * self.settings.noise
        start = proto.round().long().clamp(self.low, self.high)
        path = self.walk(start, self.settings.walk_steps, self.generator)
        values = [self.td3.networks.values(states, self._to_action(passed))[0] for passed in path.unbind(1)]
        best = torch.stack(values, 1).argmax(1, keepdim=True)
        return path.gather(1, best).squeeze(1)

    def learn(self, sizes: Tensor, ratios: Tensor, actions: Tensor, next_sizes: Tensor, next_ratios: Tensor) -> None:
        """Remember an iteration and learn from all that is remembered.

        Args:
            sizes: ``(n,)`` sizes before it.
            ratios: ``(n,)`` quality before it, relative to the full table's.
            actions: ``(n,)`` sizes that were chosen for it.
            next_sizes: ``(n,)`` sizes in it, once they were repaired.
            next_ratios: ``(n,)`` quality in it.
        """
        self.replay.add(sizes, ratios, actions, next_sizes, next_ratios)
        for _ in range(self.settings.num_updates):
            drawn = self.replay.sample(self.settings.batch_size, self.generator)
            popularity = self.popularity[drawn.rows]
            self.td3.update(
                Transitions(
                    self.states(popularity, drawn.sizes, drawn.ratios),
                    self._to_action(drawn.actions),
                    self.rewards(drawn.next_sizes, drawn.next_ratios),
                    self.states(popularity, drawn.next_sizes, drawn.next_ratios),
                )
            )

    def states(self, popularity: Tensor, sizes: Tensor, ratios: Tensor) -> Tensor:
        """Return states, ``(b, 3)`` float32 in [-1, 1]."""
        return torch.stack([popularity, self._to_action(sizes), _to_unit(ratios.float(), 0.0, 1.0)], 1)

    def rewards(self, sizes: Tensor, ratios: Tensor) -> Tensor:
        """Return the rewards, ``(b,)`` float32, of sizes and of the quality that they led to."""
        return ratios.float() - self.penalty * (sizes / self.high).square()

    def _to_action(self, sizes: Tensor) -> Tensor:
        return _to_unit(sizes.float(), self.low, self.high)

    def state_dict(self) -> dict[str, Any]:
        """Return what it learned and remembers, as tensors and plain values."""
        return {"td3": self.td3.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.td3.load_state_dict(state["td3"])
        self.replay.load_state_dict(state["replay"])


def _to_unit(values: Tensor, low: float, high: float) -> Tensor:
    """Scale values from ``low..high`` to [-1, 1]."""
    return 2 * (values - low) / max(high - low, 1e-9) - 1
