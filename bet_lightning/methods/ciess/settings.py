"""What a user can set of the agents."""

from __future__ import annotations

from dataclasses import dataclass

from bet_lightning.methods.tasks import require_at_least


@dataclass(frozen=True)
class AgentSettings:
    """How an agent chooses and learns (defaults: the paper's, and where it is silent its released code's).

    Args:
        walk_steps: Steps of the random walk from the actor's size.
        reach: Largest difference of the sizes that a step connects.
        noise: Standard deviation, in parameters, of what is added to the actor's sizes.
        target_noise: The same for the target actor's sizes.
        target_noise_clip: The most that is added to these.
        policy_delay: Updates of the critics for one of the actor and of the targets.
        num_updates: Updates of the critics an iteration.
        batch_size: Transitions of an update.
        memory: Iterations whose transitions are kept.
        discount: Weight of what follows an iteration.
        soft_update: Share of the networks in an update of their targets.
        actor_lr: Learning rate of the actor.
        critic_lr: Learning rate of the critics.
        hidden: Width of two hidden layers.

    Raises:
        ValueError: If a value is out of range.
    """

    walk_steps: int = 5
    reach: int = 5
    noise: float = 6.0
    target_noise: float = 2.0
    target_noise_clip: float = 5.0
    policy_delay: int = 2
    num_updates: int = 1
    batch_size: int = 4096
    memory: int = 100
    discount: float = 0.99
    soft_update: float = 0.005
    actor_lr: float = 1e-3
    critic_lr: float = 3e-3
    hidden: int = 256

    def __post_init__(self) -> None:
        require_at_least(self, 0, "walk_steps", "noise", "target_noise", "target_noise_clip", "num_updates")
        require_at_least(self, 0, "actor_lr", "critic_lr")
        require_at_least(self, 1, "reach", "policy_delay", "batch_size", "memory", "hidden")
        for name in ("discount", "soft_update"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"search.method.agent.{name} must be in [0, 1], got {getattr(self, name)}")
