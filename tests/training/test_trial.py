from __future__ import annotations

import io

import pytest
import torch

from bet_lightning.allocation import Allocation
from bet_lightning.backbones import MF, Backbone, Edges, NeuMF
from bet_lightning.budget import Budget
from bet_lightning.methods.tasks import Epochs, Task
from bet_lightning.tables import PackedEmbedding
from bet_lightning.tables.soft_threshold import PrunedTable
from bet_lightning.training.trial import Trial

EDGES = Edges(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 3, 1, 2]), 3, 4)


def make_network(backbone: type[MF] | type[NeuMF] = MF) -> MF | NeuMF:
    network = backbone(EDGES, 4)
    network.reset_parameters(torch.Generator().manual_seed(9))
    return network


def test_patience_counts_validations_without_a_gain() -> None:
    network, trial = make_network(), Trial(Task("retrain", "x", Epochs(10, patience=2), "x"))
    trial.begin(network, 0)
    for quality in (0.1, 0.3, 0.2):
        trial.end_epoch(network, {"recall@5": quality})
        assert not trial.finished
    trial.end_epoch(network, {"recall@5": 0.3})  # no gain either
    assert trial.finished
    outcome = trial.close(network)
    assert (outcome.epochs, outcome.best_epoch, outcome.metrics) == (4, 2, {"recall@5": 0.3})


def test_the_best_weights_are_kept_and_held_in_the_end() -> None:
    network, trial = make_network(), Trial(Task("retrain", "x", Epochs(2), "x"))
    trial.begin(network, 0)
    trial.end_epoch(network, {"recall@5": 0.3})
    best = network.table().state_dict()["weight"].clone()
    with torch.no_grad():
        network.masked_table().weight.add_(1.0)
    trial.end_epoch(network, {"recall@5": 0.2})
    outcome = trial.close(network)
    assert outcome.weights["tables.0.weight"].equal(best)
    assert network.masked_table().weight.equal(best)


def test_the_last_weights_are_kept_where_a_method_wants_them() -> None:
    network, trial = make_network(), Trial(Task("tune", "x", Epochs(9), keep="last", keep_weights=True))
    trial.begin(network, 0)
    trial.end_epoch(network, {"recall@5": 0.3})
    with torch.no_grad():
        network.masked_table().weight.add_(1.0)
    trial.end_epoch(network, {"recall@5": 0.2})
    outcome = trial.close(network)
    assert outcome.weights["tables.0.weight"].equal(network.masked_table().weight)
    assert outcome.metrics == {"recall@5": 0.2} and not trial.finished


def test_a_task_that_only_measures_keeps_no_weights() -> None:
    network, trial = make_network(), Trial(Task("probe", "x", Epochs(1)))
    trial.begin(network, 0)
    trial.end_epoch(network, {"recall@5": 0.3})
    assert trial.close(network).weights == {}


def test_validations_come_every_so_many_epochs_and_at_the_end() -> None:
    network, trial = make_network(), Trial(Task("retrain", "x", Epochs(7, eval_every_n_epochs=3), "x"))
    validated = []
    for _ in range(7):
        validated.append(trial.validates_next)
        trial.end_epoch(network, {"recall@5": 0.1} if trial.validates_next else None)
    assert validated == [False, False, True, False, False, True, True] and trial.finished


def test_what_starts_warm_is_validated_untrained() -> None:
    weights = make_network().state_dict()
    assert Trial(Task("retrain", "x", Epochs(3), "x", weights=weights)).has_untrained_result
    assert Trial(Task("probe", "x", Epochs(0), weights=weights)).has_untrained_result
    assert not Trial(Task("probe", "x", Epochs(2), weights=weights)).has_untrained_result
    assert not Trial(Task("retrain", "x", Epochs(3), "x")).has_untrained_result
    network, trial = make_network(), Trial(Task("probe", "x", Epochs(0), weights=weights))
    trial.begin(network, 0)
    trial.record(network, {"recall@5": 0.4})
    assert trial.finished and not trial.has_untrained_result and trial.outcome.best_epoch == 0


def test_begins_with_weights_sizes_and_storage() -> None:
    network = make_network()
    full = {name: value.clone() for name, value in network.state_dict().items()}
    sizes = torch.tensor([4, 0, 1, 2, 3, 1, 1])
    budget = Budget(params=12).resolve(network.shape, 0)
    warm = Task("retrain", "x", Epochs(1), "x", budget, Allocation(sizes), weights=full, storage="packed")
    trial = Trial(warm)
    trial.begin(network, 0)
    table = network.table()
    assert isinstance(table, PackedEmbedding) and table.num_used == 12
    assert table().equal(full["tables.0.weight"] * (torch.arange(4) < sizes.unsqueeze(1)))
    fresh = Trial(Task("pretrain", "x", Epochs(1), "x"))
    fresh.begin(network, 5)
    assert network.num_used == 28 and not network.is_packed
    expected = make_network()
    expected.reset_parameters(torch.Generator().manual_seed(5))
    assert network.masked_table().weight.equal(expected.masked_table().weight)


def test_tables_of_a_methods_own_are_copied() -> None:
    network = make_network()
    own = PrunedTable(7, 4, torch.rand(7, 4) < 0.5)
    trial = Trial(Task("retrain", "x", Epochs(1), "x", tables=[own]))
    trial.begin(network, 0)
    assert isinstance(network.table(), PrunedTable) and network.table() is not own
    assert not own().any()  # as it was given
    following = Trial(Task("retrain", "x", Epochs(1), "x"))
    following.begin(network, 0)
    assert network.has_prefix_tables


@pytest.mark.parametrize("backbone", [MF, NeuMF])
def test_no_table_over_its_budget_is_trained(backbone: type[MF] | type[NeuMF]) -> None:
    network = make_network(backbone)
    sizes = torch.full((7,), 2)
    budget = Budget(params=13).resolve(network.shape)
    with pytest.raises(ValueError, match="the table has 14 parameters, over the budget of 13"):
        Trial(Task("retrain", "x", Epochs(1), "x", budget, Allocation(sizes))).begin(network, 0)
    tables = [PrunedTable(7, 4) for _ in network.tables]
    in_bytes = Budget(bytes=60).resolve(network.shape)
    with pytest.raises(ValueError, match="bytes, over the budget of 60"):
        Trial(Task("retrain", "x", Epochs(1), "x", in_bytes, tables=tables)).begin(network, 0)


def test_goes_on_from_its_state() -> None:
    network, whole = make_network(), Trial(Task("retrain", "x", Epochs(9, patience=2), "x"))
    whole.begin(network, 0)
    for quality in (0.3, 0.2):
        whole.end_epoch(network, {"recall@5": quality})
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    again = Trial(whole.task)
    again.load_state_dict(torch.load(file, weights_only=True))
    for trial in (whole, again):
        trial.end_epoch(network, {"recall@5": 0.1})
        assert trial.finished
    first, second = whole.close(network), again.close(network)
    assert (first.epochs, first.best_epoch, first.metrics) == (second.epochs, second.best_epoch, second.metrics)
    assert all(value.equal(second.weights[name]) for name, value in first.weights.items())


def test_a_training_that_fails_has_no_result() -> None:
    network, trial = make_network(), Trial(Task("probe", "x", Epochs(3)))
    trial.begin(network, 0)
    trial.fail()
    outcome = trial.close(network)
    assert trial.finished and outcome.failed and outcome.metrics == {} and outcome.quality == 0


def test_the_end_may_change_what_is_kept() -> None:
    def finish(trained: Backbone) -> None:
        trained.masked_table().weight.data.fill_(2.0)

    network, trial = make_network(), Trial(Task("pretrain", "x", Epochs(1), "x", finish=finish))
    trial.begin(network, 0)
    trial.end_epoch(network, {"recall@5": 0.3})
    assert (trial.close(network).weights["tables.0.weight"] == 2).all()
