"""The set-based fitness predictor F of BET (Sec. 3.3): DeepSets over the sets "all rows of size d"."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bet_lightning.search.profile import PopularityProfile

_CHUNK = 256  # actions scored at once without gradients: activations stay in cache


def _mlp(*widths: int, last_activation: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU()]
    return nn.Sequential(*layers if last_activation else layers[:-1])


class FitnessPredictor(nn.Module):
    r"""Predicts the fitness of table-level actions.

    With :math:`S_d` the rows of size d, users and items together, :math:`q_n = \rho_{U|I}(f_n / \max f)`:

    .. math::
        s_d = \mu([\mathrm{mean}_{n \in S_d} q_n ; d / d_{max}]), \quad
        h_a = \mathrm{mean}_{d: S_d \ne \emptyset} s_d, \quad \hat r_a = \pi(h_a)

    In BET's actions every :math:`S_d` is an interval of the popularity ranking, and rows of equal popularity have
    equal :math:`q_n`: means are differences of prefix sums over the distinct popularities, in O(max_size) an action
    whatever the number of rows.

    Args:
        users: Popularity of the users.
        items: Popularity of the items.
        max_size: Largest size of a row.
        element_width: Width of :math:`\rho`.
        set_width: Width of :math:`\mu` and :math:`\pi`.
    """

    relative_sizes: Tensor

    def __init__(
        self,
        users: PopularityProfile,
        items: PopularityProfile,
        max_size: int,
        element_width: int = 16,
        set_width: int = 64,
    ) -> None:
        super().__init__()
        self.max_size = max_size
        self.rho_users = _mlp(1, element_width, element_width)
        self.rho_items = _mlp(1, element_width, element_width)
        self.mu = _mlp(element_width + 1, set_width, set_width)
        self.pi = _mlp(set_width, set_width, 1, last_activation=False)
        for side, profile in (("user", users), ("item", items)):
            self.register_buffer(f"{side}_starts", profile.starts, persistent=False)
            self.register_buffer(f"{side}_popularity", profile.relative.float()[:, None], persistent=False)
        self.register_buffer("relative_sizes", torch.arange(1, max_size + 1) / max_size, persistent=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights anew, from a generator of the caller's."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="leaky_relu", generator=generator)
                nn.init.zeros_(module.bias)

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
        sums = torch.cat([until[:1], until[1:] - until[:-1] * follows])
        return (action + 1) * self.max_size - 1 - position, sums

    def _pool(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Sums (sets, width) of the sets with rows and counts (b, max_size) of all sets to vectors (b, set_width)."""
        action, size = counts.nonzero(as_tuple=True)
        means = (sums / counts[action, size].unsqueeze(1)).float()
        vectors = self.mu(torch.cat([means, self.relative_sizes[size].unsqueeze(1)], dim=1))
        pooled = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, action, vectors)
        means_of_sets: Tensor = pooled / torch.bincount(action, minlength=len(counts)).clamp(min=1).unsqueeze(1)
        return means_of_sets

    def encode(self, user_counts: Tensor, item_counts: Tensor) -> Tensor:
        """Action vectors h_a of BET's actions.

        Args:
            user_counts: (b, max_size) int64, users of size 1 to max_size.
            item_counts: (b, max_size) int64, likewise.

        Returns:
            (b, set_width).
        """
        counts = user_counts + item_counts
        place = (counts > 0).flatten().cumsum(0) - 1  # of a set among the sets that have rows
        sides = (("user", self.rho_users, user_counts), ("item", self.rho_items, item_counts))
        users, items = (self._side_sums(*side) for side in sides)
        sums = users[1].new_zeros(int(place[-1]) + 1, users[1].shape[1])
        for sets, side_sums in (users, items):
            sums = sums.index_add(0, place[sets], side_sums)
        return self._pool(sums, counts)

    def encode_rows(
        self, user_sizes: Tensor, item_sizes: Tensor, user_popularity: Tensor, item_popularity: Tensor
    ) -> Tensor:
        """Action vector h_a of any sizes, whether or not they follow popularity.

        Args:
            user_sizes: (num_users,) int64 in 0..max_size; rows of size 0 are in no set.
            item_sizes: (num_items,) int64.
            user_popularity: (num_users,) float, f / max f.
            item_popularity: (num_items,) float.

        Returns:
            (1, set_width), equal to ``encode`` where sizes follow popularity.
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
        return self._pool(sums[1:][counts > 0], counts[None])

    def forward(self, user_counts: Tensor, item_counts: Tensor) -> Tensor:
        """Predicted fitness (b,) of BET's actions given as counts (b, max_size)."""
        return self.predict_from(self.encode(user_counts, item_counts))

    def predict_from(self, encoded: Tensor) -> Tensor:
        """Predicted fitness (b,) from action vectors (b, set_width)."""
        fitness: Tensor = self.pi(encoded).squeeze(1)
        return fitness

    @torch.no_grad()
    def encode_all(self, user_counts: Tensor, item_counts: Tensor) -> Tensor:
        """``encode`` for any number of actions, in blocks of bounded memory and without gradients."""
        blocks = zip(user_counts.split(_CHUNK), item_counts.split(_CHUNK), strict=True)
        return torch.cat([self.encode(users, items) for users, items in blocks])
