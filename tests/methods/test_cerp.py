from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget
from bet_lightning.cli import main
from bet_lightning.data import BPRBatch
from bet_lightning.methods import CERP, Epochs, Problem, run_method
from bet_lightning.methods.cerp import find_buckets
from bet_lightning.methods.tasks import Outcome, Task
from bet_lightning.objectives import BPR
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables.compositional import ComplementaryTable, CompositionalTable
from bet_lightning.tables.sparse_bytes import sparse_bytes
from bet_lightning.training import train_task
from bet_lightning.training.trial import Trial
from tests.conftest import write_config
from tests.methods.compressing import tiny_data


def resolved(shape: TableShape, ratio: float, unit: str) -> ResolvedBudget:
    if unit == "params":
        return Budget(keep_ratio=ratio).resolve(shape, 0)
    return Budget(bytes=int(ratio * 4 * shape.params), dtype="fp32").resolve(shape, 0)


@given(
    rows=st.integers(40, 3000),
    ratio=st.floats(0.06, 0.9),
    density=st.floats(0.1, 1.0),
    tables=st.sampled_from([1, 2]),
    unit=st.sampled_from(["params", "bytes"]),
)
def test_the_budget_is_spent_exactly_on_a_share_of_few_buckets(
    rows: int, ratio: float, density: float, tables: int, unit: str
) -> None:
    shape = TableShape(rows // 2, rows - rows // 2, 8 * tables, tables)
    budget, method = resolved(shape, ratio, unit), CERP(density)
    try:
        count, buckets = method.count(budget), find_buckets(budget, density)
    except ValueError as error:
        assert "no entry" in str(error)
        return
    entries = 2 * buckets * shape.width
    if unit == "params":
        assert count == budget.params
    else:
        each = -(-count // tables)
        assert tables * sparse_bytes(each, 2 * buckets, 8) <= budget.bytes
        assert count == entries or tables * sparse_bytes(each + 1, 2 * buckets, 8) > budget.bytes
    assert 1 <= buckets <= rows and (count <= density * entries or buckets == rows)
    if unit == "params" and buckets > 1:  # one bucket less would be denser
        assert count > int(density * (entries - 2 * shape.width))


def test_what_is_kept_begins_again_from_its_initial_values() -> None:
    network = MF(Edges(torch.arange(8), torch.arange(8), 8, 8), 4)
    budget = Budget(params=11).resolve(network.shape, 0)
    problem = Problem(Recommender(network, metrics=RankingMetrics((1,))), lambda share: [], [budget])
    initial = list[torch.Tensor]()

    def train(task: Task) -> Outcome:
        trial = Trial(task)
        trial.begin(network, seed=5)
        table = network.table()
        assert isinstance(table, CompositionalTable)
        if isinstance(table, ComplementaryTable):
            initial.append(table.meta.weight.detach().clone())
            with torch.no_grad():
                table.meta.weight.mul_(torch.arange(table.meta.weight.numel()).view_as(table.meta.weight))
        trial.record(network, {"recall@1": 0.5})
        trial.end_epoch(network, {"recall@1": 0.4})
        return trial.close(network)

    results = run_method(CERP(learn=Epochs(3), train=Epochs(2)), problem, train)
    kept = network.table()
    assert list(results) == ["cerp"] and isinstance(kept, CompositionalTable) and kept.num_used == 11
    assert kept.num_buckets == 3 and kept.meta.weight.equal(initial[0])  # ceil(11 / (0.5 * 2 * 4))
    trained = (initial[0] * torch.arange(24).view(6, 4)).abs()
    assert (kept.meta() != 0).equal(trained >= trained.flatten().sort(descending=True).values[10])


def test_thresholds_grow_until_few_enough_entries_are_left() -> None:
    data = tiny_data()
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    network = MF(edges, 8)
    recommender = Recommender(network, BPR(), 1e-4, LRSchedule(0.03))
    budget = Budget(params=420).resolve(network.shape, 0)
    problem = Problem(recommender, lambda share: data.val_dataloader(), [budget], seed=3)
    used = list[tuple[str, int, int]]()

    def train_noting(task: Task) -> Outcome:
        outcome = train_task(task, recommender, data.train_dataloader(), lambda share: data.val_dataloader(), 3)
        used.append((task.phase, outcome.epochs, network.num_used))
        return outcome

    results = run_method(CERP(initial_threshold=-2.5, learn=Epochs(12), train=Epochs(1)), problem, train_noting)
    (learning, epochs, left), (_, _, kept) = used
    assert learning == "tune" and epochs < 12 and left <= kept == 420  # it ends as soon as few enough are left
    assert results["cerp"].quality > 0


def test_the_loss_of_a_batch_counts_its_users_and_positive_items() -> None:
    network = MF(Edges(torch.arange(8), torch.arange(8), 8, 8), 4)
    budget = Budget(params=11).resolve(network.shape, 0)
    recommender = Recommender(network, BPR(), 0.0, metrics=RankingMetrics((1,)))
    batch = BPRBatch(torch.tensor([0, 3]), torch.tensor([1, 7]), torch.tensor([2, 2]))
    losses = []
    for weight in (0.0, 1.0):
        method = CERP(complement=weight, initial_threshold=-3.0)
        table = method.soft_table(budget)
        network.use_tables([table])
        recommender.auxiliary_loss = method.learning_loss
        network.reset_parameters(torch.Generator().manual_seed(0))
        losses.append(recommender.loss(batch).detach())
    vectors = table(torch.tensor([0, 3, 9, 15])).detach()
    torch.testing.assert_close(losses[1] - losses[0], -torch.tanh(100 * vectors).square().sum(1).mean())


def test_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"search.method.density must be in \(0, 1\], got 0"):
        CERP(density=0)
    with pytest.raises(ValueError, match=r"search.method.complement must be at least 0, got -1"):
        CERP(complement=-1)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["LightGCN", "MF", "NGCF", "NeuMF"])
def test_trains_with_every_backbone(backbone: str, tmp_path: Path) -> None:
    method = {"class_path": "CERP", "init_args": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 2}}}
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, method=method))])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    record = read_record(tmp_path / "run")
    assert [result.params for result in record.results] == [record.budgets[0].params]
    assert record.results[0].test["ndcg@20"] > 0
