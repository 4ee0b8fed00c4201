"""Twin delayed deep deterministic policy gradients (TD3), for states of a few numbers and actions of one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bet_lightning.methods.ciess.settings import AgentSettings


class Transitions(NamedTuple):
    """What was met.

    Attributes:
        states: ``(b, num_features)`` float32.
        actions: ``(b,)`` float32 in [-1, 1].
        rewards: ``(b,)`` float32.
        next_states: ``(b, num_features)`` float32.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor


class Networks(nn.Module):
    """An actor and two critics.

    Args:
        num_features: Numbers of a state.
        hidden: Width of two hidden layers.
    """

    def __init__(self, num_features: int, hidden: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(*_layers(num_features, hidden), nn.Tanh())
        self.critics = nn.ModuleList(nn.Sequential(*_layers(num_features + 1, hidden)) for _ in range(2))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights again, as PyTorch draws those of linear layers."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)

    def act(self, states: Tensor) -> Tensor:
        """Return the actor's actions, ``(b,)`` in [-1, 1]."""
        actions: Tensor = self.actor(states)
        return actions.squeeze(1)

    def values(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each critic expects of actions, ``(b,)`` each."""
        inputs = torch.cat([states, actions.unsqueeze(1)], 1)
        first, second = (critic(inputs).squeeze(1) for critic in self.critics)
        return first, second


class TD3:
    r"""Learns which actions are worth most (Fujimoto et al. 2018, ICML, arXiv 1802.09477).

    Critics learn :math:`r + \gamma \min_i Q'_i(s', \mu'(s') + \epsilon)` with clipped noise :math:`\epsilon`: targets
    are smoothed, and the less hopeful of two counts. The actor follows the first critic, less often than critics learn,
    and only then do the target networks move.

    Args:
        num_features: Numbers of a state.
        unit: Length in actions of what noise is given in.
        settings: Constants.
        generator: What draws initial weights and noise.

    Attributes:
        networks: Actor and critics.
        targets: What they are compared with.
        num_updates: Updates of the critics so far.
    """

    def __init__(self, num_features: int, unit: float, settings: AgentSettings, generator: torch.Generator) -> None:
        self.unit = unit
        self.settings = settings
        self.generator = generator
        self.num_updates = 0
        self.networks = Networks(num_features, settings.hidden)
        self.networks.reset_parameters(generator)
        self.targets = copy.deepcopy(self.networks).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.networks.actor.parameters(), lr=settings.actor_lr)
        self.critic_optimizer = torch.optim.Adam(self.networks.critics.parameters(), lr=settings.critic_lr)

    def update(self, batch: Transitions) -> None:
        """Take a step of the critics, and in turn one of the actor and of the targets."""
        wanted = self.wanted(batch)
        first, second = self.networks.values(batch.states, batch.actions)
        mse = nn.functional.mse_loss
        self._step(self.critic_optimizer, mse(first, wanted) + mse(second, wanted))
        self.num_updates += 1
        if self.num_updates % self.settings.policy_delay == 0:
            value, _ = self.networks.values(batch.states, self.networks.act(batch.states))
            self._step(self.actor_optimizer, -value.mean())
            self._move_targets()

    @torch.no_grad()
    def wanted(self, batch: Transitions) -> Tensor:
        """Return what critics are to expect of a batch, ``(b,)``, with noise drawn for it."""
        settings = self.settings
        noise = torch.randn(len(batch.rewards), generator=self.generator) * settings.target_noise
        noise = noise.clamp(-settings.target_noise_clip, settings.target_noise_clip) * self.unit
        actions = (self.targets.act(batch.next_states) + noise).clamp(-1, 1)
        return batch.rewards + settings.discount * torch.minimum(*self.targets.values(batch.next_states, actions))

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        # gradients of the actor's loss that reach critics are cleared before the critics' next step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _move_targets(self) -> None:
        for target, source in zip(self.targets.parameters(), self.networks.parameters(), strict=True):
            target.lerp_(source, self.settings.soft_update)

    def state_dict(self) -> dict[str, Any]:
        """Return all but the constants and the generator, as tensors and plain values."""
        return {
            "networks": self.networks.state_dict(),
            "targets": self.targets.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.networks.load_state_dict(state["networks"])
        self.targets.load_state_dict(state["targets"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.num_updates = state["num_updates"]


def _layers(num_inputs: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(num_inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)]
