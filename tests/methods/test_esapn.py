import pytest
import torch

from bet_lightning.backbones import MF, Backbone, LightGCN, NeuMF
from bet_lightning.data import BPRBatch
from bet_lightning.methods import ESAPN, Epochs
from bet_lightning.methods.esapn import grown_tables, policies_loss
from bet_lightning.training.trial import Trial
from tests.methods.compressing import Run, run, tiny_data


def learning(backbone: type[Backbone]) -> Run:
    """A run whose backbone is left as sizes begin to grow."""
    found = run(ESAPN((2, 4), learn=Epochs(0), train=Epochs(0)), ["50%"], backbone)
    Trial(found.tasks[0]).begin(found.problem.network, 1)
    found.problem.network.train()
    torch.manual_seed(0)
    return found


def first_batch() -> BPRBatch:
    return next(iter(tiny_data().train_dataloader()))


@pytest.mark.parametrize("backbone", [LightGCN, MF, NeuMF])
def test_rows_of_the_batch_grow_where_the_policy_says_so(backbone: type[Backbone]) -> None:
    found, batch = learning(backbone), first_batch()
    network = found.problem.network
    rows = torch.cat([batch.users, batch.pos_items + network.num_users]).unique()
    expected = []
    for table in grown_tables(network):
        scores = table.scores(rows, table.levels[rows])
        expected.append(torch.zeros(network.num_rows, dtype=torch.int64))
        expected[-1][rows] = (scores[:, 1] > scores[:, 0]).long()
    loss = policies_loss(found.problem.recommender, batch)
    assert loss.item() == 0 and any(levels.any() for levels in expected)
    for table, levels in zip(grown_tables(network), expected, strict=True):
        assert table.levels.equal(levels)
    loss.backward()
    moved = {name for name, each in network.named_parameters() if each.grad is not None and each.grad.any()}
    assert moved and all(".policy." in name for name in moved)


def test_rewards_are_means_of_a_rows_triplets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = learning(MF)
    network = found.problem.network
    batch = BPRBatch(torch.tensor([3, 3, 5]), torch.tensor([1, 2, 1]), torch.tensor([7, 8, 9]))
    scores = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.1, 0.5, -0.5]), torch.zeros(())
    monkeypatch.setattr(network, "forward", lambda *triplets: scores)
    policies_loss(found.problem.recommender, batch)
    each = 1 - (1 - torch.sigmoid(scores[0] - scores[1])) ** 2
    rewards = grown_tables(network)[0].last_rewards
    torch.testing.assert_close(rewards[[3, 5]], torch.stack([each[:2].mean(), each[2]]))
    items = torch.stack([each[[0, 2]].mean(), each[1]])
    torch.testing.assert_close(rewards[[network.num_users + 1, network.num_users + 2]], items)
    assert int((rewards != 0).sum()) == 4


def test_actions_that_are_rewarded_become_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    found = learning(MF)
    network = found.problem.network
    (table,) = grown_tables(network)
    batch = BPRBatch(torch.tensor([3, 5]), torch.tensor([1, 2]), torch.tensor([7, 8]))
    rows = torch.tensor([3, 5])
    table.eval()  # so that scores of a row do not hang on others

    def odds() -> torch.Tensor:
        scores = table.scores(rows, torch.zeros(2, dtype=torch.int64)).detach()
        return scores[:, 1] - scores[:, 0]

    sampled = torch.tensor([1, 0, 0, 1])  # the first user grows, the second stays
    monkeypatch.setattr(torch, "multinomial", lambda *_: sampled.unsqueeze(1))
    scores = torch.tensor([5.0, 5.0]), torch.tensor([-5.0, -5.0]), torch.zeros(())
    monkeypatch.setattr(network, "forward", lambda *triplets: scores)
    before = odds()
    policies_loss(found.problem.recommender, batch).backward()
    with torch.no_grad():
        for parameter in table.side(0).policy.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    assert odds()[0] - odds()[1] > before[0] - before[1]


def test_rows_of_the_largest_size_teach_nothing() -> None:
    found = learning(MF)
    network = found.problem.network
    (table,) = grown_tables(network)
    table.levels.fill_(2)
    policies_loss(found.problem.recommender, first_batch()).backward()
    assert all(each.grad is None or not each.grad.any() for each in network.parameters())
    assert (table.levels == 2).all()


def test_reached_sizes_are_kept_where_the_budget_is_their_sum() -> None:
    found = run(ESAPN((2, 4), learn=Epochs(3), train=Epochs(0)), ["50%"])
    preferences = found.problem.state["preferences"]
    reached = torch.tensor([2, 4, 8])[preferences.argmax(1)]
    assert len(reached.unique()) > 1
    state = {"preferences": preferences}
    again = run(ESAPN((2, 4), learn=Epochs(3), train=Epochs(0)), [str(int(reached.sum()))], state=state)
    (task,) = again.tasks
    assert task.allocation and task.allocation.sizes.equal(reached)


def test_learning_goes_on_to_its_last_epoch() -> None:
    found = run(ESAPN(learn=Epochs(4, patience=1), train=Epochs(0)), ["50%"])
    assert found.tasks[0].keep == "last" and found.tasks[0].auxiliary_loss is policies_loss


def test_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match=r"search\.method\.candidates must be sizes in ascending order, got \[0, 2\]"):
        ESAPN((0, 2))
    with pytest.raises(ValueError, match=r"search\.method\.policy_rate must be positive, got -1"):
        ESAPN(policy_rate=-1)
