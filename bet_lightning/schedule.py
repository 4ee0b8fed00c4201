"""Learning rate over the steps of one training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LRSchedule:
    """A learning rate that decays geometrically down to a floor.

    Args:
        lr: First learning rate.
        decay: Factor applied every ``decay_steps`` steps.
        decay_steps: Steps between two decays.
        min_lr: The floor.

    Raises:
        ValueError: If a value is out of range.
    """

    lr: float = 0.03
    decay: float = 0.95
    decay_steps: int = 200
    min_lr: float = 0.001

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 < self.decay <= 1 or self.decay_steps < 1 or self.min_lr < 0:
            raise ValueError(
                "a schedule needs lr > 0, 0 < decay <= 1, decay_steps >= 1 and min_lr >= 0, got "
                f"lr={self.lr}, decay={self.decay}, decay_steps={self.decay_steps}, min_lr={self.min_lr}"
            )

    def __call__(self, step: int) -> float:
        """Learning rate at a step, from 0."""
        return max(min(self.min_lr, self.lr), self.lr * self.decay ** (step // self.decay_steps))
