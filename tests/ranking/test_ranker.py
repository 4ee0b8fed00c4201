import numpy as np
import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, Edges
from bet_lightning.backbones.dot import Factors
from bet_lightning.data import Csr, RankingBatch, RankingLoader
from bet_lightning.objectives import BPR, SampledSoftmax
from bet_lightning.ranking import RankingMetrics, ranker
from bet_lightning.ranking.ranker import Ranker, TopItems, scale_items

NOTHING = torch.empty(0, dtype=torch.int64)


@pytest.fixture
def network() -> MF:
    network = MF(Edges(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 3, 1, 3, 2, 3]), 3, 5), max_size=4)
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network


def make_ranker(network: MF) -> Ranker:
    return Ranker(network, BPR(), RankingMetrics((1, 2)))


def test_ranks_unseen_items_with_the_tables_of_this_evaluation(network: MF) -> None:
    users = torch.tensor([2, 0])
    batch = RankingBatch(users, torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3]), NOTHING, NOTHING)
    found, table = make_ranker(network), network.masked_table().weight.detach()
    scores = table[users] @ table[3:].T
    scores[0, 2] = scores[1, 0] = scores[1, 3] = -torch.inf
    top = found.rank(batch, 2)
    torch.testing.assert_close(top.scores, scores.topk(2).values)
    assert top.items.equal(scores.topk(2).indices)

    with torch.no_grad():
        network.masked_table().weight.neg_().add_(torch.randn(8, 4))
    assert found.rank(batch, 2).items.equal(top.items)  # encoded once an evaluation
    found.start()
    table = network.masked_table().weight.detach()
    assert float(found.rank(batch, 2).scores[0, 0]) == pytest.approx(
        float((table[2] @ table[3:].T)[[0, 1, 3, 4]].max()), rel=1e-5
    )


def test_a_cpu_ranks_as_many_users_at_once_as_stay_in_cache(network: MF, monkeypatch: pytest.MonkeyPatch) -> None:
    users = torch.arange(3).repeat(5)
    batch = RankingBatch(users, torch.tensor([4, 14]), torch.tensor([2, 0]), NOTHING, NOTHING)
    found = make_ranker(network)
    whole, score, asked = found.rank(batch, 2), MF.score, []

    def counting(network: MF, encoded: Factors, block: Tensor) -> Tensor:
        asked.append(len(block))
        return score(network, encoded, block)

    monkeypatch.setattr(MF, "score", counting)
    for cached, fewest, expected in ((80, 1, [4, 4, 4, 3]), (80, 6, [6, 6, 3]), (1 << 20, 1, [15])):
        monkeypatch.setattr(ranker, "_CACHED_SCORE_BYTES", cached)
        monkeypatch.setattr(ranker, "_FEWEST_USERS", fewest)
        asked.clear()
        blocks = found.rank(batch, 2)
        assert asked == expected
        assert blocks.users.equal(users) and blocks.items.equal(whole.items)
        torch.testing.assert_close(blocks.scores, whole.scores)


def fits_one_user(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let memory run out at more than one user, and note how many were asked for."""
    asked: list[int] = []
    score = MF.score

    def score_one(network: MF, encoded: Factors, block: Tensor) -> Tensor:
        asked.append(len(block))
        if len(block) > 1:
            raise torch.OutOfMemoryError
        return score(network, encoded, block)

    monkeypatch.setattr(MF, "score", score_one)
    return asked


def test_a_block_that_does_not_fit_is_ranked_in_halves(network: MF, monkeypatch: pytest.MonkeyPatch) -> None:
    users = torch.tensor([2, 0, 1])
    seen = torch.tensor([0, 1, 1, 2]), torch.tensor([2, 0, 3, 1])
    batch, found = RankingBatch(users, *seen, NOTHING, NOTHING), make_ranker(network)
    whole = found.rank(batch, 2)
    asked = fits_one_user(monkeypatch)
    halves = found.rank(batch, 2)
    assert found.warnings == ["out of memory: ranking 1 users at once from now on"]
    found.rank(batch, 2)
    assert asked == [3, 1, 1, 1, 1, 1, 1]  # later blocks are not tried whole again
    assert whole.users.equal(halves.users) and whole.items.equal(halves.items)
    torch.testing.assert_close(whole.scores, halves.scores)


def test_memory_for_not_even_one_user_is_an_error(network: MF, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(MF, "score", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        make_ranker(network).rank(RankingBatch(torch.tensor([0, 1]), NOTHING, NOTHING, NOTHING, NOTHING), 2)


def test_an_evaluation_is_the_mean_over_users_and_begins_anew(network: MF) -> None:
    seen = Csr.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 3, 1, 2]), 3, 5)
    targets = Csr.from_pairs(np.array([0, 1, 1]), np.array([1, 0, 4]), 3, 5)
    loader = RankingLoader(np.array([1, 0]), seen, targets, batch_size=1)
    network.train()
    found = make_ranker(network)
    table = network.masked_table().weight.detach()
    scores = table[:3] @ table[3:].T
    scores[[0, 0, 1], [0, 3, 1]] = -torch.inf
    wanted = {0: {1}, 1: {0, 4}}
    for k in (1, 2):
        hits = {user: [item in wanted[user] for item in scores[user].topk(k).indices.tolist()] for user in wanted}
        recalls = [sum(hits[user]) / len(wanted[user]) for user in wanted]
        for _ in range(2):  # nothing is left over from an evaluation that was broken off
            found.count(next(iter(loader)))
            assert found.evaluate(loader)[f"recall@{k}"] == pytest.approx(np.mean(recalls))
    assert network.training
    network.eval()
    found.evaluate(loader)
    assert not network.training


def test_a_users_quality_is_the_mean_of_its_own_metrics(network: MF) -> None:
    seen = Csr.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 3, 1, 2]), 3, 5)
    targets = Csr.from_pairs(np.array([0, 1, 1]), np.array([1, 0, 4]), 3, 5)
    found = make_ranker(network)
    network.train()
    by_user = found.evaluate_users(RankingLoader(np.array([2, 1, 0]), seen, targets, batch_size=2))
    assert by_user.shape == (3,) and by_user[2].isnan() and network.training
    for user in (0, 1):
        metrics = found.evaluate(RankingLoader(np.array([user]), seen, targets, batch_size=1))
        assert float(by_user[user]) == pytest.approx(np.mean([*metrics.values()]))
    missing = found.evaluate_users(RankingLoader(np.array([1]), seen, targets, batch_size=1))
    assert missing[0].isnan() and missing[1] == by_user[1]


def test_a_softmax_ranks_by_cosine_norm_and_popularity(network: MF) -> None:
    objective = SampledSoftmax(norm_power=0.5, popularity_power=0.25)
    found = Ranker(network, objective, RankingMetrics((1, 2)))
    batch = RankingBatch(torch.tensor([1]), NOTHING, NOTHING, NOTHING, NOTHING)
    table = network.masked_table().weight.detach().double()
    user, items = table[1], table[3:]
    popularity = torch.tensor([1.0, 1, 1, 3, 1])  # nobody's item counts as if somebody had taken it
    cosines = items @ user / items.norm(dim=1) / user.norm()
    expected = cosines * items.norm(dim=1) ** 0.5 * popularity**0.25
    top: TopItems = found.rank(batch, 5)
    assert top.items[0].equal(expected.argsort(descending=True))
    # users' norms scale all of their scores alike
    torch.testing.assert_close(top.scores[0].double(), expected.sort(descending=True).values * user.norm())


def test_scaling_leaves_users_and_dot_products_at_their_powers(network: MF) -> None:
    factors = network.encode()
    frequency = torch.tensor([0.0, 1, 4, 9, 16])
    same = scale_items(factors, frequency, SampledSoftmax(norm_power=1.0, popularity_power=0.0).item_powers)
    torch.testing.assert_close(same.items, factors.items)
    scaled = scale_items(factors, frequency, SampledSoftmax(norm_power=0.0, popularity_power=0.5).item_powers)
    assert scaled.users.equal(factors.users)
    torch.testing.assert_close(scaled.items.norm(dim=1), torch.tensor([1.0, 1, 2, 3, 4]))
