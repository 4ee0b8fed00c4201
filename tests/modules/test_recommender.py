import numpy as np
import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF
from bet_lightning.backbones.dot import Factors
from bet_lightning.data import BPRBatch, Csr, RankingBatch
from bet_lightning.modules import LRSchedule, RecommenderModule, recommender
from bet_lightning.ranking import RankingMetrics

TRAIN = Csr.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 3, 1, 2]), 3, 5)


@pytest.fixture
def module() -> RecommenderModule:
    module = RecommenderModule(lambda edges: MF(edges, max_size=4), l2=0.3, ks=(2, 1))
    module.build(TRAIN)
    module.network.reset_parameters(torch.Generator().manual_seed(0))
    return module


def test_loss_is_bpr_with_l2_on_the_rows_of_the_batch(module: RecommenderModule) -> None:
    users, positives, negatives = torch.tensor([0, 2]), torch.tensor([3, 2]), torch.tensor([1, 4])
    table = module.network.table().weight.detach().numpy()
    u, i, j = table[users], table[positives + 3], table[negatives + 3]
    bpr = -np.log(1 / (1 + np.exp((u * j).sum(1) - (u * i).sum(1)))).mean()
    penalty = ((u**2).sum() + (i**2).sum() + (j**2).sum()) / 4
    module.log = lambda *_args, **_kwargs: None  # type: ignore[method-assign,assignment]
    loss = module.training_step(BPRBatch(users, positives, negatives), 0)
    assert float(loss) == pytest.approx(bpr + 0.3 * penalty, rel=1e-5)


def test_ranks_unseen_items_with_the_tables_of_this_evaluation(module: RecommenderModule) -> None:
    users = torch.tensor([2, 0])
    nothing = torch.empty(0, dtype=torch.int64)
    batch = RankingBatch(users, torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3]), nothing, nothing)
    table = module.network.table().weight.detach()
    scores = table[users] @ table[3:].T
    scores[0, 2] = scores[1, 0] = scores[1, 3] = -torch.inf
    top = module.rank(batch, 2)
    torch.testing.assert_close(top.scores, scores.topk(2).values)
    assert top.items.equal(scores.topk(2).indices)

    with torch.no_grad():
        module.network.table().weight.neg_().add_(torch.randn(8, 4))
    assert module.rank(batch, 2).items.equal(top.items)  # encoded once an evaluation
    module.on_validation_epoch_start()
    table = module.network.table().weight.detach()
    assert float(module.rank(batch, 2).scores[0, 0]) == pytest.approx(
        float((table[2] @ table[3:].T)[[0, 1, 3, 4]].max()), rel=1e-5
    )


def test_a_cpu_ranks_as_many_users_at_once_as_stay_in_cache(
    module: RecommenderModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = torch.arange(3).repeat(5)
    nothing = torch.empty(0, dtype=torch.int64)
    batch = RankingBatch(users, torch.tensor([4, 14]), torch.tensor([2, 0]), nothing, nothing)
    whole, score, asked = module.rank(batch, 2), MF.score, []

    def counting(network: MF, encoded: Factors, block: Tensor) -> Tensor:
        asked.append(len(block))
        return score(network, encoded, block)

    monkeypatch.setattr(MF, "score", counting)
    for cached, fewest, expected in ((80, 1, [4, 4, 4, 3]), (80, 6, [6, 6, 3]), (1 << 20, 1, [15])):
        monkeypatch.setattr(recommender, "_CACHED_SCORE_BYTES", cached)
        monkeypatch.setattr(recommender, "_FEWEST_USERS", fewest)
        asked.clear()
        blocks = module.rank(batch, 2)
        assert asked == expected
        assert blocks.users.equal(users) and blocks.items.equal(whole.items)
        torch.testing.assert_close(blocks.scores, whole.scores)


def test_a_block_that_does_not_fit_is_ranked_in_halves(
    module: RecommenderModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = torch.tensor([2, 0, 1])
    seen = torch.tensor([0, 1, 1, 2]), torch.tensor([2, 0, 3, 1])
    batch = RankingBatch(users, *seen, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    whole, score, asked = module.rank(batch, 2), MF.score, []

    def score_one(network: MF, encoded: Factors, block: torch.Tensor) -> torch.Tensor:
        asked.append(len(block))
        if len(block) > 1:
            raise torch.OutOfMemoryError
        return score(network, encoded, block)

    monkeypatch.setattr(MF, "score", score_one)
    with pytest.warns(UserWarning, match="out of memory: ranking 1 users at once"):
        halves = module.rank(batch, 2)
    module.rank(batch, 2)
    assert asked == [3, 1, 1, 1, 1, 1, 1]  # later blocks are not tried whole again
    assert whole.users.equal(halves.users) and whole.items.equal(halves.items)
    torch.testing.assert_close(whole.scores, halves.scores)


def test_learning_rate_follows_the_schedule_in_force(module: RecommenderModule) -> None:
    module.schedule = LRSchedule(lr=0.5, decay=0.5, decay_steps=1, min_lr=0.1)
    configured = module.configure_optimizers()
    assert isinstance(configured, dict)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]  # type: ignore[index,typeddict-item]
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [0.5, 0.25, 0.125, 0.1]


def test_no_sizes_over_the_cap_enter(module: RecommenderModule) -> None:
    sizes = torch.full((8,), 2)
    module.set_sizes(sizes, cap=16)
    with pytest.raises(ValueError, match="sizes sum to 16 parameters, over the budget of 15"):
        module.set_sizes(sizes, cap=15)


def test_refuses_wrong_arguments(module: RecommenderModule) -> None:
    with pytest.raises(ValueError, match=r"model\.l2 must not be negative, got -1"):
        RecommenderModule(MF, l2=-1)
    with pytest.raises(ValueError, match=r"model\.ks must be cut-offs of at least 1, got \[0\]"):
        RecommenderModule(MF, ks=[0])
    with pytest.raises(ValueError, match=r"model\.ks must not exceed the 5 items of the data, got 6"):
        RecommenderModule(MF, ks=[6]).build(TRAIN)
    with pytest.raises(RuntimeError, match=r"call build\(\) first"):
        _ = RecommenderModule(MF).network
    assert isinstance(module.metrics, RankingMetrics) and module.metrics.ks == (1, 2)
