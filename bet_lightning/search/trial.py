"""One training of the backbone within a fit: what it trains, how long, and the best it reached."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

from bet_lightning.ranking import quality

Phase = Literal["pretrain", "probe", "tune", "retrain"]
Start = Literal["fresh", "warm"]


class Training(NamedTuple):
    """A retraining to come.

    Attributes:
        name: Name of its result.
        sizes: (num_rows,) int64 parameters a row.
        cap: The budget that they are to stay within.
        start: Weights that it starts from.
    """

    name: str
    sizes: Tensor
    cap: int
    start: Start


@dataclass
class Trial:
    """A training with given sizes, until its epochs or its patience run out.

    Attributes:
        phase: What the training is for.
        name: Name of its result.
        sizes: (num_rows,) int64 parameters a row.
        cap: The budget that they are to stay within.
        max_epochs: Epochs at most; without any, its weights are validated as they are.
        eval_every: Epochs between validations; the last epoch is always validated.
        patience: Validations without a gain before it stops; None trains all epochs.
        start: Whether it starts from fresh weights or from the pre-trained ones.
        epoch: Epochs done.
        seconds: Seconds spent on them.
        waited: Validations since the best.
        best_epoch: Epoch of the best validation.
        best_metrics: Metrics of the best validation.
        best_probe_metrics: The same metrics on the users that probes are validated on.
        best_weights: The backbone's state at the best validation.
        failed: Whether its loss left the numbers, so that it measured nothing.
    """

    phase: Phase
    name: str
    sizes: Tensor
    cap: int
    max_epochs: int
    eval_every: int = 1
    patience: int | None = None
    start: Start = "fresh"
    epoch: int = 0
    seconds: float = 0.0
    waited: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_probe_metrics: dict[str, float] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    failed: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether the training only measures an action and keeps no weights."""
        return self.phase in ("probe", "tune")

    @property
    def has_untrained_result(self) -> bool:
        """Whether its weights are to be validated before any training: a cut table may be at its best as it is."""
        untrained = self.max_epochs == 0 or (self.start == "warm" and not self.is_probe)
        return untrained and self.epoch == 0 and not self.best_metrics and not self.failed

    @property
    def validates_next(self) -> bool:
        """Whether the coming epoch ends with a validation."""
        return (self.epoch + 1) % self.eval_every == 0 or self.epoch + 1 >= self.max_epochs

    @property
    def finished(self) -> bool:
        """Whether the training is over."""
        return (
            self.failed or self.epoch >= self.max_epochs or (self.patience is not None and self.waited >= self.patience)
        )

    @property
    def quality(self) -> float:
        """Mean recall and ndcg of the best validation so far; 0 before the first."""
        return quality(self.best_metrics) if self.best_metrics else 0.0

    def record(
        self, metrics: Mapping[str, float], probe_metrics: Mapping[str, float], weights: Mapping[str, Tensor]
    ) -> None:
        """Take the result of a validation after the current epoch.

        Args:
            metrics: ``recall@k`` and ``ndcg@k`` by name.
            probe_metrics: The same on the users that probes are validated on.
            weights: The backbone's state, copied if it is the best so far; that of a probe is not.
        """
        if self.best_metrics and quality(metrics) <= self.quality:
            self.waited += 1
            return
        self.waited, self.best_epoch, self.best_metrics = 0, self.epoch, dict(metrics)
        self.best_probe_metrics = dict(probe_metrics)
        if not self.is_probe:
            self.keep_weights(weights)

    def fail(self) -> None:
        """End it without a result."""
        self.failed, self.best_metrics, self.best_probe_metrics = True, {}, {}

    def keep_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Keep a copy of the backbone's state as the best."""
        self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}

    @property
    def training(self) -> Training:
        """What it trains, without what it reached."""
        return Training(self.name, self.sizes, self.cap, self.start)

    def anew(self) -> "Trial":
        """The same trial before its first epoch."""
        return Trial(
            self.phase,
            *self.training[:3],
            max_epochs=self.max_epochs,
            eval_every=self.eval_every,
            patience=self.patience,
            start=self.start,
        )

    def state_dict(self) -> dict[str, Any]:
        """All fields, as tensors and plain values."""
        return dict(vars(self))
