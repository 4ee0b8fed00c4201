from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, Edges
from bet_lightning.budget import Budget
from bet_lightning.cli import main
from bet_lightning.data import InteractionDataModule
from bet_lightning.methods import PEP, Epochs, Problem, run_method
from bet_lightning.methods.pep import count_within, keep_largest
from bet_lightning.methods.tasks import Outcome, Task
from bet_lightning.objectives import BPR
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables.soft_threshold import PrunedTable, SoftThresholdTable
from bet_lightning.tables.sparse_bytes import sparse_bytes
from bet_lightning.training import train_task
from bet_lightning.training.trial import Trial
from tests.conftest import TINY, write_config


@given(st.data())
def test_exactly_the_largest_margins_are_kept(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
    margins = torch.tensor(values, dtype=torch.float32)
    count = data.draw(st.integers(0, len(values)))
    (mask,) = keep_largest([margins], count)
    assert mask.sum() == count
    assert not mask.any() or mask.all() or margins[mask].min() >= margins[~mask].max()


@given(rows=st.integers(4, 200), ratio=st.floats(0.05, 1.0), tables=st.sampled_from([1, 2]))
def test_as_many_entries_as_bytes_allow_with_their_index(rows: int, ratio: float, tables: int) -> None:
    shape = TableShape(rows // 2, rows - rows // 2, 8 * tables, tables)
    num_bytes = min(int(ratio * 4 * shape.params) + 2 * rows, 4 * shape.params)
    budget = Budget(bytes=num_bytes, dtype="fp32").resolve(shape, 0)
    try:
        count = count_within(budget)
    except ValueError:
        assert tables * sparse_bytes(1, rows, 8) > budget.bytes
        return
    per_table = -(-count // tables)
    assert tables * sparse_bytes(per_table, rows, 8) <= budget.bytes
    if count < shape.params:
        assert tables * sparse_bytes(per_table + 1, rows, 8) > budget.bytes


def test_what_is_kept_begins_again_from_its_initial_values() -> None:
    network = MF(Edges(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]), 3, 2), 4)
    problem = Problem(
        Recommender(network, metrics=RankingMetrics((1,))), lambda share: [], [Budget(params=9).resolve(network.shape)]
    )
    tasks: list[Task] = []

    def train(task: Task) -> Outcome:
        trial = Trial(task)
        trial.begin(network, seed=5)
        tasks.append(task)
        table = network.table()
        if isinstance(table, SoftThresholdTable):
            with torch.no_grad():
                table.weight.mul_(torch.arange(20).view(5, 4))
        else:
            assert isinstance(table, PrunedTable)
        trial.record(network, {"recall@1": 0.5})
        trial.end_epoch(network, {"recall@1": 0.4})
        return trial.close(network)

    results = run_method(PEP(learn=Epochs(3), train=Epochs(2)), problem, train)
    assert [task.phase for task in tasks] == ["tune", "retrain"] and list(results) == ["pep"]
    learned, kept = tasks[0], network.table()
    assert isinstance(kept, PrunedTable) and kept.num_used == 9
    network.use_masked_tables()
    network.reset_parameters(torch.Generator().manual_seed(5))
    initial = network.masked_table().weight.detach()
    assert kept.weight.equal(initial)
    trained = initial * torch.arange(20).view(5, 4)
    assert kept.mask.equal(trained.abs() >= trained.abs().flatten().sort(descending=True).values[8])
    assert learned.stop is not None


def test_thresholds_prune_while_they_are_trained() -> None:
    data = InteractionDataModule(**TINY["data"]["init_args"])
    data.setup("fit")
    train = data.dataset.train
    edges = Edges(torch.from_numpy(train.rows()), torch.from_numpy(train.indices), train.num_rows, train.num_cols)
    network = MF(edges, 8)
    recommender = Recommender(network, BPR(), 1e-4, LRSchedule(0.03))
    counts: list[int] = []

    def run(target: int) -> dict[str, Outcome]:
        counts.clear()
        budget = Budget(params=target).resolve(network.shape, 0)
        problem = Problem(recommender, lambda share: data.val_dataloader(), [budget], seed=3)

        def train_counting(task: Task) -> Outcome:
            stop = task.stop
            if stop:
                task = replace(task, stop=lambda trained: counts.append(trained.num_used) or stop(trained))
            return train_task(task, recommender, data.train_dataloader(), lambda share: data.val_dataloader(), 3)

        method = PEP(initial_threshold=-2.0, learn=Epochs(12), train=Epochs(1))
        return run_method(method, problem, train_counting)

    run(100)
    assert len(counts) == 12 and counts[-1] < counts[4] < counts[0]  # thresholds grow, and the target is not reached
    lowest = counts[5]
    results = run(lowest)
    assert len(counts) <= 6 and counts[-1] <= lowest < counts[0]  # it ends as soon as few enough are left
    kept = network.table()
    assert isinstance(kept, PrunedTable) and kept.num_used == lowest and results["pep"].epochs == 1


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["MF", "NGCF", "NeuMF"])
def test_trains_with_every_backbone(backbone: str, tmp_path: Path) -> None:
    method = {"class_path": "PEP", "init_args": {"learn": {"max_epochs": 2}, "train": {"max_epochs": 2}}}
    main(["fit", "--config", str(write_config(tmp_path, "run", backbone, method=method))])
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    record = read_record(tmp_path / "run")
    assert [result.params for result in record.results] == [record.budgets[0].params]
    assert record.results[0].test["ndcg@20"] > 0
