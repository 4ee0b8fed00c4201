from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import MF, Edges
from bet_lightning.data import InteractionDataModule, RankingBatch
from bet_lightning.dtypes import LEVELS, Dtype
from bet_lightning.methods.tasks import Epochs, Task
from bet_lightning.objectives import BPR
from bet_lightning.recommender import Recommender
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableFormat
from bet_lightning.tables.quantized import QuantizedEmbedding
from bet_lightning.training import train_task
from bet_lightning.training.loop import epoch_seed
from tests.conftest import TINY

SCHEDULE = LRSchedule(0.05, 0.5)


@pytest.fixture(scope="module")
def data() -> InteractionDataModule:
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    return data


def make_recommender(data: InteractionDataModule) -> Recommender:
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    return Recommender(MF(edges, 8), BPR(), 0.01, SCHEDULE)


def train(task: Task, data: InteractionDataModule, seed: int = 2) -> tuple[Recommender, dict[str, float]]:
    def users(share: float) -> Iterable[RankingBatch]:
        loader = data.val_dataloader()
        loader.share = share
        return loader

    recommender = make_recommender(data)
    outcome = train_task(task, recommender, data.train_dataloader(), users, seed)
    return recommender, dict(outcome.metrics)


def test_trains_as_a_loop_by_hand_does(data: InteractionDataModule) -> None:
    trained, metrics = train(Task("retrain", "x", Epochs(2, eval_every_n_epochs=2), "x"), data)
    by_hand = make_recommender(data)
    network = by_hand.network
    network.reset_parameters(torch.Generator().manual_seed(2))
    loader = data.train_dataloader()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05, fused=True)
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.5**epoch
        loader.sampler.set_epoch(epoch_seed(2, epoch))
        for users, positives, negatives in loader:
            scores, others, penalty = network(users, positives, negatives)
            loss = -torch.nn.functional.logsigmoid(scores - others).mean() + 0.01 * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(trained.network.table()(), network.table()(), rtol=1e-4, atol=1e-6)
    assert by_hand.evaluate(data.val_dataloader()) == pytest.approx(metrics, rel=1e-2)


def test_equal_tasks_end_alike_and_sizes_set_them_apart(data: InteractionDataModule) -> None:
    task = Task("retrain", "x", Epochs(2), "x", allocation=Allocation(torch.full((210,), 2)))
    (_, first), (_, again) = train(task, data), train(task, data)
    assert first == again
    _, other = train(Task("retrain", "x", Epochs(2), "x", allocation=Allocation(torch.full((210,), 3))), data)
    assert other != first


def test_a_loss_that_is_no_number_ends_it(data: InteractionDataModule) -> None:
    wild = LRSchedule(1e38, 1.0, min_lr=1e38)
    with pytest.raises(ValueError, match="my training diverged: its loss is"):
        train(Task("retrain", "my training", Epochs(3), "x", schedule=wild), data)
    _, metrics = train(Task("probe", "x", Epochs(3), schedule=wild), data)
    assert metrics == {}


def test_a_rule_ends_it(data: InteractionDataModule) -> None:
    seen: list[int] = []
    task = Task("retrain", "x", Epochs(9), "x", stop=lambda network: seen.append(network.num_used) or len(seen) == 3)  # type: ignore[func-returns-value]
    train(task, data)
    assert seen == [1680] * 3


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("dtype", LEVELS)
def test_a_table_of_levels_is_trained_and_ends_as_it_was_measured(
    dtype: Dtype, warm: bool, data: InteractionDataModule
) -> None:
    sizes = torch.arange(210) % 8 + 1
    allocation = Allocation(sizes, TableFormat(dtype))
    weights = make_recommender(data).network.state_dict() if warm else None
    task = Task("retrain", "x", Epochs(2), "x", allocation=allocation, weights=weights)
    recommender, metrics = train(task, data)
    table = recommender.network.table()
    assert isinstance(table, QuantizedEmbedding) and recommender.network.dtype == dtype
    assert table.sizes.long().equal(sizes)
    held = TableFormat(dtype).num_bytes(recommender.network.shape, sizes)
    assert recommender.network.num_bytes == task.num_bytes(recommender.network) == held
    again = train_task(
        Task("probe", "again", Epochs(0), allocation=None, tables=[table], weights=recommender.network.state_dict()),
        recommender,
        data.train_dataloader(),
        lambda share: data.val_dataloader(),
        0,
    )
    assert dict(again.metrics) == metrics
