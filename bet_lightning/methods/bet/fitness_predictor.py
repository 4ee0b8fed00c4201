"""The set-based fitness predictor F of BET (Sec. 3.3), for sizes that follow popularity."""

import torch
from torch import Tensor, nn

from bet_lightning.methods.bet.profile import PopularityProfile
from bet_lightning.methods.bet.set_predictor import SetPredictor


class FitnessPredictor(SetPredictor):
    r"""Predicts the fitness of actions that hand out sizes by popularity, with :math:`q_n = \rho_{U|I}(f_n / \max f)`.

    Every :math:`S_d` is then an interval of the popularity ranking, and rows of equal popularity have equal
    :math:`q_n`: means are differences of prefix sums over the distinct popularities, in O(max_size) an action
    whatever the number of rows.

    Args:
        users: Popularity of the users.
        items: Popularity of the items.
        max_size: Largest size of a row.
        element_width: Width of :math:`\rho`.
        set_width: Width of :math:`\mu` and :math:`\pi`.
    """

    def __init__(
        self,
        users: PopularityProfile,
        items: PopularityProfile,
        max_size: int,
        element_width: int = 16,
        set_width: int = 64,
    ) -> None:
        super().__init__(1, max_size, element_width, set_width)
        for side, profile in (("user", users), ("item", items)):
            self.register_buffer(f"{side}_starts", profile.starts, persistent=False)
            self.register_buffer(f"{side}_popularity", profile.relative.float()[:, None], persistent=False)

    def _side_sums(self, side: str, rho: nn.Module, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The sets of one side that have rows: their places in (b, max_size) flat, and sums of q (sets, element_width).

        Args:
            side: ``user`` or ``item``.
            rho: The side's network.
            counts: (b, max_size) int64.
        """
        starts: Tensor = getattr(self, f"{side}_starts")
        element = rho(getattr(self, f"{side}_popularity")).double()
        group_sums = element * starts.diff()[:, None]
        prefix = torch.cat([torch.zeros_like(group_sums[:1]), group_sums.cumsum(0)])
        descending = counts.flip(1)  # the largest rows come first in the popularity ranking
        action, position = descending.nonzero(as_tuple=True)
        ranks = descending.cumsum(1)[action, position]  # where each set ends in it
        group = torch.searchsorted(starts, ranks, right=True).clamp(max=len(starts) - 1) - 1
        until = prefix[group] + (ranks - starts[group]).unsqueeze(1) * element[group]
        follows = (action.diff() == 0).unsqueeze(1)  # the set before is of the same action
        sums = torch.cat([until[:1], until[1:] - until[:-1] * follows]).float()
        return (action + 1) * self.max_size - 1 - position, sums

    def encode(self, users: Tensor, items: Tensor, precision: Tensor) -> Tensor:
        """Return action vectors h_a of actions by popularity.

        Args:
            users: (b, max_size) int64, users of size 1 to max_size.
            items: (b, max_size) int64, items of size 1 to max_size.
            precision: (b,) float32.

        Returns:
            (b, set_width + 2).
        """
        counts = users + items
        place = (counts > 0).flatten().cumsum(0) - 1  # of a set among the sets that have rows
        user_sums = self._side_sums("user", self.rho_users, users)
        item_sums = self._side_sums("item", self.rho_items, items)
        sums = user_sums[1].new_zeros(int(place[-1]) + 1, user_sums[1].shape[1])
        for sets, side_sums in (user_sums, item_sums):
            sums.index_add_(0, place[sets], side_sums)
        return self._pool(sums, counts, precision)

    def encode_rows(
        self, user_sizes: Tensor, item_sizes: Tensor, user_popularity: Tensor, item_popularity: Tensor
    ) -> Tensor:
        """Return the action vector h_a of any sizes, whether or not they follow popularity.

        Args:
            user_sizes: (num_users,) int64 in 0..max_size; rows of size 0 are in no set.
            item_sizes: (num_items,) int64.
            user_popularity: (num_users,) float, f / max f.
            item_popularity: (num_items,) float.

        Returns:
            (1, set_width + 2), equal to ``encode`` of float32 where sizes follow popularity.
        """
        sizes = torch.cat([user_sizes, item_sizes])
        element = torch.cat(
            [
                self.rho_users(user_popularity.float()[:, None]),
                self.rho_items(item_popularity.float()[:, None]),
            ]
        ).double()
        sums = element.new_zeros(self.max_size + 1, element.shape[1]).index_add(0, sizes, element)
        counts = torch.bincount(sizes, minlength=self.max_size + 1)[1:]
        return self._pool(sums[1:][counts > 0], counts[None], torch.ones(1))
