import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.data import BPRBatch, Csr, RankingLoader
from bet_lightning.objectives import BPR, SampledSoftmax
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables.supernet import SupernetTable

EDGES = Edges(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 3, 1, 2]), 3, 5)
BATCH = BPRBatch(torch.tensor([0, 2]), torch.tensor([3, 2]), torch.tensor([1, 4]))
METRICS = RankingMetrics((1, 2))


class Contrasted(MF):
    """Adds to the loss of a batch."""

    def auxiliary_loss(self, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> Tensor:
        return torch.sum(7 * self.table()(users)) + pos_items.sum() - neg_items.sum()


def made(network: Backbone) -> Backbone:
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network


def test_loss_is_bpr_with_l2_on_the_rows_of_the_batch() -> None:
    network = made(MF(EDGES, max_size=4))
    table = network.masked_table().weight.detach().numpy()
    users, positives, negatives = BATCH
    u, i, j = table[users], table[positives + 3], table[negatives + 3]
    bpr = -np.log(1 / (1 + np.exp((u * j).sum(1) - (u * i).sum(1)))).mean()
    penalty = ((u**2).sum() + (i**2).sum() + (j**2).sum()) / 4
    loss = Recommender(network, BPR(), l2=0.3, metrics=METRICS).loss(BATCH).detach()
    assert float(loss) == pytest.approx(bpr + 0.3 * penalty, rel=1e-5)


def test_a_backbone_adds_its_auxiliary_loss() -> None:
    plain, contrasted = made(MF(EDGES, max_size=4)), made(Contrasted(EDGES, max_size=4))
    for objective in (BPR(), SampledSoftmax(num_negatives=2)):
        before = Recommender(plain, objective, metrics=METRICS).loss(BATCH)
        added = 7 * plain.table()(BATCH.users).sum() + 5 - 5
        torch.testing.assert_close(Recommender(contrasted, objective, metrics=METRICS).loss(BATCH), before + added)


def test_a_training_adds_its_auxiliary_loss_which_comes_first() -> None:
    recommender = Recommender(made(MF(EDGES, max_size=4)), BPR(), metrics=METRICS)

    def doubled(of: Recommender, batch: BPRBatch) -> Tensor:
        assert of is recommender and batch is BATCH
        of.network.masked_table().weight.data.mul_(2)
        return torch.tensor(3.0)

    recommender.auxiliary_loss = doubled
    found = recommender.loss(BATCH)
    recommender.auxiliary_loss = None
    torch.testing.assert_close(found, recommender.loss(BATCH) + 3)


@pytest.mark.parametrize(
    ("factory", "objective"), [(MF, SampledSoftmax), (LightGCN, SampledSoftmax), (NGCF, SampledSoftmax), (NeuMF, BPR)]
)
def test_what_is_left_out_is_the_backbones_recipe(factory: type[Backbone], objective: type) -> None:
    network = factory(EDGES, max_size=4)
    found = Recommender(network, metrics=METRICS)
    assert type(found.objective) is objective
    assert (found.l2, found.schedule) == (network.recipe.l2, network.recipe.schedule)
    given = Recommender(network, BPR(), 0.0, LRSchedule(0.5), METRICS)
    assert (given.objective, given.l2, given.schedule) == (BPR(), 0.0, LRSchedule(0.5))
    assert tuple(given.ks) == (1, 2)


def test_evaluates_the_network_as_it_is() -> None:
    network = made(MF(EDGES, max_size=4))
    recommender = Recommender(network, BPR(), metrics=METRICS)
    seen = Csr.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 3, 1, 2]), 3, 5)
    targets = Csr.from_pairs(np.array([1]), np.array([4]), 3, 5)
    loader = RankingLoader(np.array([1]), seen, targets, batch_size=8)
    with torch.no_grad():
        for sign, reached in ((1, 1.0), (-1, 0.0)):  # the user's only target comes first, or last
            network.masked_table().weight[3 + 4] = sign * 100 * network.masked_table().weight[1]
            found = recommender.evaluate(loader)
            assert found == dict.fromkeys(("recall@1", "recall@2", "ndcg@1", "ndcg@2"), reached)


def test_refuses_cut_offs_beyond_the_items_and_objectives_that_do_not_go() -> None:
    with pytest.raises(ValueError, match=r"model\.ks must not exceed the 5 items of the data, got 20"):
        Recommender(MF(EDGES, max_size=4))
    with pytest.raises(ValueError, match="needs a backbone that scores by dot products, got NeuMF: take BPR"):
        Recommender(NeuMF(EDGES, max_size=4), SampledSoftmax(), metrics=METRICS)


def test_the_optimizer_is_adam_at_the_rate_of_the_schedule() -> None:
    network = MF(EDGES, max_size=2)
    ours, gradient = network.masked_table().weight, torch.linspace(-1, 1, 16).view(8, 2)
    plain = nn.Parameter(ours.detach().clone())
    schedule, steps_per_epoch = LRSchedule(lr=0.5, decay=0.5, decay_epochs=1, min_lr=0.2), 0
    optimizer, scheduler = make_optimizer(network, schedule, lambda: steps_per_epoch)
    steps_per_epoch = 2  # known only once the loaders are
    for rate in (0.5, 0.5, 0.25, 0.25, 0.2, 0.2):
        assert optimizer.param_groups[0]["lr"] == rate
        ours.grad = gradient
        optimizer.step()
        scheduler.step()
    reference = torch.optim.Adam([plain], lr=1.0)
    for rate in (0.5, 0.5, 0.25, 0.25, 0.2, 0.2):
        reference.param_groups[0]["lr"] = rate
        plain.grad = gradient
        reference.step()
    torch.testing.assert_close(ours, plain)


def test_parameters_of_tables_have_rates_of_their_own() -> None:
    network = NeuMF(EDGES, max_size=2)
    network.use_tables([SupernetTable(3, 5, 2, threshold_rate=3.0) for _ in range(2)])
    network.reset_parameters(torch.Generator().manual_seed(0))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer, scheduler = make_optimizer(network, LRSchedule(lr=0.5, decay=0.5, min_lr=0.1), lambda: 1)
    for moved in (0.5, 0.75):  # Adam moves by the learning rate where gradients are all the same
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
        for name, parameter in network.named_parameters():
            rate = 3 if name.endswith("thresholds") else 1
            torch.testing.assert_close(before[name] - parameter.detach(), torch.full_like(parameter, rate * moved))
