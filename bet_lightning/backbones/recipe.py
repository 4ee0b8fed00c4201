"""How backbones are trained where a user says nothing."""

from dataclasses import dataclass

from bet_lightning.schedule import LRSchedule


@dataclass(frozen=True)
class Recipe:
    """Settings that do best in ``configs/results`` for a backbone.

    Attributes:
        softmax: Whether the sampled softmax trains it, rather than BPR.
        l2: Weight of the squared norm of a batch's table rows.
        schedule: Learning rate from fresh weights.
        warm_schedule: Learning rate from pre-trained weights.
        probe_epochs: Epochs after which a cut table shows what it is worth; 0 where it does so untrained.
    """

    softmax: bool = True
    l2: float = 1e-4
    schedule: LRSchedule = LRSchedule(lr=0.02, decay=0.92)
    warm_schedule: LRSchedule = LRSchedule(lr=0.01, decay=0.75, min_lr=0.0005)
    probe_epochs: int = 0
