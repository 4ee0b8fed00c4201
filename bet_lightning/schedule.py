"""Learning rate over the epochs of one training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LRSchedule:
    """A learning rate that decays geometrically down to a floor.

    It counts epochs, not steps, so that one setting fits data of any size.

    Args:
        lr: First learning rate.
        decay: Factor applied every ``decay_epochs`` epochs.
        decay_epochs: Epochs between two decays; a fraction decays within an epoch.
        min_lr: The floor.

    Raises:
        ValueError: If a value is out of range.
    """

    lr: float = 0.03
    decay: float = 0.95
    decay_epochs: float = 1.0
    min_lr: float = 0.001

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 < self.decay <= 1 or self.decay_epochs <= 0 or self.min_lr < 0:
            raise ValueError(
                "a schedule needs lr > 0, 0 < decay <= 1, decay_epochs > 0 and min_lr >= 0, got "
                f"lr={self.lr}, decay={self.decay}, decay_epochs={self.decay_epochs}, min_lr={self.min_lr}"
            )

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate at a step, from 0."""
        decays = int(step // (self.decay_epochs * steps_per_epoch))
        return max(min(self.min_lr, self.lr), self.lr * float(self.decay**decays))
