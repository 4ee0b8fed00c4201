"""The set-based fitness predictor for actions of any form, which sees groups of rows."""

from __future__ import annotations

from torch import Tensor

from bet_lightning.methods.bet.set_predictor import SetPredictor


class GroupPredictor(SetPredictor):
    r"""Predicts the fitness of actions of any form, :math:`q_n` being :math:`\rho` of popularity and energy.

    Rows are seen by groups of similar popularity and energy, over their largest values.

    Args:
        users: (groups, 2) float32 features of the users' groups.
        items: (groups, 2) float32 features of the items' groups.
        max_size: Largest size of a row.
        element_width: Width of :math:`\rho`.
        set_width: Width of :math:`\mu` and :math:`\pi`.
    """

    user_features: Tensor
    item_features: Tensor

    def __init__(
        self, users: Tensor, items: Tensor, max_size: int, element_width: int = 16, set_width: int = 64
    ) -> None:
        super().__init__(users.shape[1], max_size, element_width, set_width)
        self.register_buffer("user_features", users, persistent=False)
        self.register_buffer("item_features", items, persistent=False)

    def encode(self, users: Tensor, items: Tensor, precision: Tensor) -> Tensor:
        """Return action vectors h_a.

        Args:
            users: (b, max_size, groups) float32, users of each group with size 1 to max_size.
            items: (b, max_size, groups) float32, items of each group with size 1 to max_size.
            precision: (b,) float32.

        Returns:
            (b, set_width + 2).
        """
        sums = users @ self.rho_users(self.user_features) + items @ self.rho_items(self.item_features)
        counts = users.sum(2) + items.sum(2)
        return self._pool(sums[counts > 0], counts, precision)
