"""The sampled softmax loss: a user's item against negatives that the whole batch shares."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.backbones.dot import DotProductBackbone, Factors


@dataclass(frozen=True)
class SampledSoftmax:
    r"""Sampled softmax over cosines (Wu et al. 2024, arXiv 2201.02327).

    .. math::
        -\frac{1}{b} \sum_{(u,i)} \log \frac{e^{\cos(z_u, z_i) / \tau}}
        {e^{\cos(z_u, z_i) / \tau} + \sum_{j \in N} e^{\cos(z_u, z_j) / \tau}}

    N are the first ``num_negatives`` negatives of the batch's triplets: uniform over the items, but for those of the
    user they were drawn for. One of them may be an item of another user's; at a thousand out of tens of thousands of
    items this is rare, and it is not corrected.

    Cosines do not see norms, which then follow from initial values, popularity, the graph and sizes, and within
    :math:`\pm 1 / \tau` they cannot say how popular an item is. Items are therefore ranked by

    .. math::
        \cos(z_u, z_i) \, \|z_i\|^p \, f_i^q

    f being its training interactions, p ``norm_power`` and q ``popularity_power``.

    Args:
        num_negatives: Negatives a batch.
        temperature: :math:`\tau`.
        norm_power: Power of an item's norm in its scores: 1 ranks by dot products, 0 by cosines. The larger it is, the
            more rows of unequal sizes are ranked by their sizes.
        popularity_power: Power of an item's popularity.

    Raises:
        ValueError: If a value is out of range.
    """

    num_negatives: int = 1024
    temperature: float = 0.1
    norm_power: float = 0.25
    popularity_power: float = 0.05

    def __post_init__(self) -> None:
        for name in ("norm_power", "popularity_power"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"model.softmax.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.num_negatives < 1 or self.temperature <= 0:
            raise ValueError(
                "model.softmax needs num_negatives >= 1 and temperature > 0, got "
                f"num_negatives={self.num_negatives}, temperature={self.temperature}"
            )

    def encode(self, network: Backbone) -> Factors:
        """Compute, without gradient, the vectors whose dot products rank items."""
        encoded: Factors = self.check(network).encode()
        norms = torch.linalg.vector_norm(encoded.items, dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        popularity = network.frequency[network.num_users :, None].clamp(min=1)
        return encoded._replace(
            items=encoded.items * norms ** (self.norm_power - 1) * popularity**self.popularity_power
        )

    @staticmethod
    def check(network: Backbone) -> DotProductBackbone:
        """Return the backbone if it can be trained and ranked with this.

        Raises:
            ValueError: If it does not score by dot products.
        """
        if not isinstance(network, DotProductBackbone):
            raise ValueError(
                f"model.softmax needs a backbone that scores by dot products, got {type(network).__name__}"
            )
        return network

    def __call__(self, network: Backbone, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the loss and the regulariser.

        Args:
            network: The backbone.
            users: ``(b,)`` int64.
            pos_items: ``(b,)`` int64, an item of each user's.
            neg_items: ``(b,)`` int64.

        Returns:
            The mean loss, and :math:`\frac{1}{2b} \sum (\|e_u\|^2 + \|e_i\|^2)` over the batch's masked table rows.

        Raises:
            ValueError: If the backbone does not score by dot products.
        """
        backbone = self.check(network)
        size = users.numel()
        items = torch.cat([pos_items, neg_items[: self.num_negatives]])
        final, norms = backbone.gather(torch.cat([users, backbone.item_rows(items)]))
        final = torch.nn.functional.normalize(final)
        user, pos, neg = final[:size], final[size : 2 * size], final[2 * size :]
        user = user / self.temperature
        pos_logits = torch.linalg.vecdot(user, pos)
        loss = (torch.logaddexp(pos_logits, torch.logsumexp(user @ neg.T, 1)) - pos_logits).mean()
        return loss, norms[: 2 * size].sum() / (2 * size)
