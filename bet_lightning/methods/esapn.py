"""ESAPN: sizes that grow as policies say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bet_lightning.backbones import Backbone
from bet_lightning.methods.base import Problem
from bet_lightning.methods.preferred_sizes import PreferredSizes
from bet_lightning.methods.tasks import Epochs
from bet_lightning.tables.grown_sizes import GrownSizesTable

if TYPE_CHECKING:
    from bet_lightning.data import BPRBatch
    from bet_lightning.recommender import AuxiliaryLoss, Recommender


class ESAPN(PreferredSizes):
    r"""Sizes that grow from the smallest, as a policy a side says (Liu et al. 2020, SIGIR).

    Every row begins with the smallest size. A vector is brought to the largest by one linear layer a size, batch
    normalisation and tanh. A policy sees a row's popularity and size, and lets it keep its size or grow to the next; a
    row that grows begins with the layer's image of what it had. In every step the policies learn first, by REINFORCE:
    actions are sampled, and rewarded with :math:`1 - (1 - \sigma(\cdot))^2` less what the row was rewarded with last.
    Then rows of the batch grow where growing is the likelier action, and the values learn.

    Deviations: the paper's recommender learns from one pass over a stream of ratings; here there are epochs of
    triplets, popularity is that of all training data, in steps of a quarter of an octave, and what is rewarded is the
    difference of the scores of a triplet's positive and negative item. Policies and values learn from the same batch,
    the policies before it is trained on, rather than from the last and the present one. A row that is in a batch more
    than once acts once, for the mean of its rewards; negatives do not act. Rows of the largest size, which have no
    choice, teach the policies nothing. Batch statistics of a size are over the rows that have it; the authors take
    those of all rows, whether their vectors of that size are in use or not. The paper has no budget; here the reached
    sizes are brought to it: preferences rise up to a row's size and fall beyond by the policy's log odds of growing,
    and each row takes the size of the largest preference less its price, as for AutoEmb; among rows of equal odds the
    more popular is the larger. Sizes are then trained from scratch, in one table. Candidates above the width of a table
    become that width. Where a backbone has several tables, each has policies of its own, and their preferences are
    averaged.

    What the authors' code has and this keeps: a row that grows reads as before except for the batch statistics of its
    new size, so that a sampled action changes its reward through these alone: policies hear little of what sizes are
    worth.

    Args:
        candidates: Sizes of a table's rows, in ascending order (paper: 2, 4, 8, 16, 64, 128).
        policy_rate: Learning rate of the policies, relative to the values' (authors: 1e-4 against 1e-3).
        learn: How long policies are learned; the last epoch counts, whether or not it validates best.
        train: How long sizes may be trained.

    Raises:
        ValueError: If the candidates are no sizes in ascending order, or ``policy_rate`` is not positive.
    """

    table_class = GrownSizesTable

    def __init__(
        self,
        candidates: Sequence[int] = (2, 4, 8, 16, 64, 128),
        policy_rate: float = 0.1,
        learn: Epochs = Epochs(max_epochs=20),
        train: Epochs = Epochs(),
    ) -> None:
        super().__init__("esapn", candidates, policy_rate, learn, train)

    def auxiliary_loss(self, problem: Problem) -> AuxiliaryLoss:
        """Return the policies' loss: see :meth:`PreferredSizes.auxiliary_loss`."""
        return policies_loss


def policies_loss(recommender: Recommender, batch: BPRBatch) -> Tensor:
    """Let rows of a batch grow, and return 0 with the gradient of REINFORCE for the policies.

    Args:
        recommender: What is trained, on grown tables.
        batch: The training batch; its users and positive items act.
    """
    network = recommender.network
    rows, places = torch.cat([batch.users, network.item_rows(batch.pos_items)]).unique(return_inverse=True)
    tables = grown_tables(network)
    scores = [table.scores(rows, table.levels[rows]) for table in tables]
    free = [table.levels[rows] < len(table.candidates) - 1 for table in tables]
    sampled = [torch.multinomial(each.detach().softmax(1), 1).squeeze(1) for each in scores]
    with ExitStack() as trial, torch.no_grad():
        for table, actions in zip(tables, sampled, strict=True):
            trial.enter_context(table.grown(rows[actions == 1]))
        pos_scores, neg_scores, _ = network(*batch)
    rewards = 1 - torch.sigmoid(neg_scores - pos_scores).square()
    by_row = torch.zeros(2, len(rows), device=rewards.device)
    by_row.index_add_(1, places, torch.stack([rewards, torch.ones_like(rewards)]).repeat(1, 2))
    reward = by_row[0] / by_row[1]
    loss = torch.zeros((), device=rewards.device)
    for table, of_table, actions, may_grow in zip(tables, scores, sampled, free, strict=True):
        advantage = (reward - table.last_rewards[rows]) * may_grow
        loss = loss + (cross_entropy(of_table, actions, reduction="none") * advantage).mean()
        table.last_rewards[rows] = reward
        table.grow(rows[of_table.detach().argmax(1) == 1])
    return loss - loss.detach()


def grown_tables(network: Backbone) -> list[GrownSizesTable]:
    """Return a backbone's tables while sizes grow."""
    return [table for table in network.tables if isinstance(table, GrownSizesTable)]
