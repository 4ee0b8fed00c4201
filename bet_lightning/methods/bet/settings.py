"""What a user can set of BET, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bet_lightning.methods.bet.selection import Selection
from bet_lightning.methods.tasks import Epochs, Storage, require_at_least

Start = Literal["fresh", "warm"]
Starts = Literal["fresh", "warm", "both"]
Parallel = Literal["data", "actions"]
Basis = Literal["principal", "trained"]


@dataclass(frozen=True)
class SearchSettings:
    """How actions are found.

    Args:
        num_iterations: Probes a budget, T.
        num_random: How many of them, the first, are picked at random.
        num_candidates: Candidates an iteration, m.
        num_updates: Predictor updates an iteration, N.
        selection: Which candidate is probed: the paper's ``mixed``, ``greedy``, ``nearest`` or ``random``.

    Raises:
        ValueError: If a value is out of range.
    """

    num_iterations: int = 30
    num_random: int = 6
    num_candidates: int = 100
    num_updates: int = 10
    selection: Selection = "mixed"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "num_iterations", "num_random", "num_updates")
        require_at_least(self, 1, "num_candidates")


@dataclass(frozen=True)
class ProbeSettings:
    """How an action is measured.

    Args:
        epochs: Epochs of a probe (paper: 10 or 15); 0 ranks the cut table untrained. Default: 1 for the paper's
            family and for NGCF, else 0.
        user_share: Share of the validation users that it is validated on, rounded up to whole batches (paper: 1).
            Default: all up to 10,000 users, then what makes about as many.
        refit_steps: Steps by which a cut table's kept parameters compensate for the others, before probes and warm
            retraining (LightGCN: conjugate gradients towards the full one's final vectors). Default: 0 for the paper's
            family, else 5.

    Raises:
        ValueError: If a value is out of range.
    """

    epochs: int | None = None
    user_share: float | None = None
    refit_steps: int | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 0, "epochs", "refit_steps")
        if self.user_share is not None and not 0 < self.user_share <= 1:
            raise ValueError(f"search.method.probe.user_share must be in (0, 1], got {self.user_share}")


@dataclass(frozen=True)
class TuneSettings:
    """Longer probes of good actions.

    Args:
        num_actions: Actions of high fitness, not all alike, that are probed again for longer.
        epochs: Epochs of these probes.

    Raises:
        ValueError: If a value is out of range.
    """

    num_actions: int = 3
    epochs: int = 1

    def __post_init__(self) -> None:
        require_at_least(self, 0, "num_actions")
        require_at_least(self, 1, "epochs")


@dataclass(frozen=True)
class RetrainSettings(Epochs):
    """How the best actions are trained for good.

    Args:
        num_actions: Actions retrained, of each budget (paper: 5).
        start: Weights that retraining starts from: ``fresh`` as in the paper, the masked pre-trained ones (``warm``),
            or ``both``.
        parallel: What several devices share: the ``data`` of one action after another, or the ``actions``.
        storage: What retrained tables are held in: full and ``masked``, or ``packed``, where values, gradients and
            optimiser state take no more than the budget. Both train alike; results are saved masked. Tables of few
            levels are always masked.

    Raises:
        ValueError: If a value is out of range.
    """

    max_epochs: int = 100
    num_actions: int = 1
    start: Starts = "warm"
    parallel: Parallel = "data"
    storage: Storage = "masked"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "num_actions")
        if self.max_epochs == 0 and self.start != "warm":
            raise ValueError(
                f"search.method.retrain.max_epochs 0 cuts pre-trained tables: start must be warm, got {self.start}"
            )

    @property
    def starts(self) -> tuple[Start, ...]:
        """The starts one after another."""
        return ("fresh", "warm") if self.start == "both" else (self.start,)
