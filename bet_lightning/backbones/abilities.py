"""What a backbone may be able to do beyond training and ranking; methods ask for these with ``isinstance``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

KeptForm = Literal["table", "vectors"]  # the table that is trained, or final vectors made of it


class Refit(NamedTuple):
    """How kept parameters compensate for those that are cut off.

    Attributes:
        steps: Steps towards the best that they can do; 0 leaves them as they are.
        power: Power of popularity by which a row's error counts among its side's.
    """

    steps: int = 0
    power: float = 0.0


@runtime_checkable
class TurnsBasis(Protocol):
    """Can change its tables' columns so that the first carry most of the scores."""

    def to_principal_basis(self) -> None:
        """Change the columns of full tables in place; scores stay what they are.

        Rows count as often as they have interactions, whatever their length.

        Raises:
            ValueError: If a row has less than its full size or the tables are packed.
        """


@runtime_checkable
class HasKeptForm(Protocol):
    """Can spend a budget on something else than the table that is trained."""

    @property
    def kept_forms(self) -> Mapping[KeptForm, bool]:
        """What a budget may be spent on, the first unless it is chosen, and whether rows of size 0 are then rebuilt."""

    def to_kept_form(self, form: KeptForm) -> None:
        """Put what is kept in the place of a full trained table; scores stay what they are.

        Args:
            form: What is kept.

        Raises:
            ValueError: If a row has less than its full size or the tables are packed.
        """


@runtime_checkable
class KnowsEnergy(Protocol):
    """Can tell what single parameters of a trained table are worth."""

    def energy(self) -> Tensor:
        """Return the share of each parameter in the squares of what its row is used for, without gradient.

        Returns:
            ``(num_rows, row_width)`` float32, in the order in which sizes grow.
        """

    def gains(self, cap: int, min_size: int, refit: Refit) -> Tensor:
        """Return what each parameter is worth when sizes are chosen.

        Args:
            cap: About how many parameters will be kept.
            min_size: Smallest size of a row.
            refit: How a cut will be compensated for.

        Returns:
            ``(num_rows, row_width)`` float32, in the order in which sizes grow.
        """


@runtime_checkable
class RefitsCuts(Protocol):
    """Can compensate for what a cut takes: its ``cut`` heeds ``Refit``.

    Attributes:
        refit_powers: Powers of popularity to choose from, in order: which is best depends on the data.
    """

    refit_powers: ClassVar[tuple[float, ...]]


@runtime_checkable
class HasAuxiliaryLoss(Protocol):
    """Adds a loss of its own to the objective's, as contrastive backbones do."""

    def auxiliary_loss(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> Tensor:
        """Return what is added to the loss of a batch, a scalar with its weight applied."""
