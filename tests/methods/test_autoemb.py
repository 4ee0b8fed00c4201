from functools import partial

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, NeuMF
from bet_lightning.data import BPRBatch
from bet_lightning.methods import AutoEmb, Epochs
from bet_lightning.methods.autoemb import controllers_loss, soft_tables
from bet_lightning.training.trial import Trial
from tests.methods.compressing import Run, run, tiny_data


def learning(backbone: type[Backbone]) -> Run:
    """A run whose backbone is left as it begins to learn weights."""
    found = run(AutoEmb(learn=Epochs(0), train=Epochs(0)), ["50%"], backbone)
    Trial(found.tasks[0]).begin(found.problem.network, 1)
    found.problem.network.train()
    return found


def first_batch() -> BPRBatch:
    return next(iter(tiny_data().train_dataloader()))


@pytest.mark.parametrize("backbone", [MF, NGCF, NeuMF])
def test_controllers_learn_from_validation_pairs_and_nothing_else_does(backbone: type[Backbone]) -> None:
    found = learning(backbone)
    recommender, network = found.problem.recommender, found.problem.network
    users, items = found.problem.validation_pairs()
    pairs = torch.stack([users, items]).T.tolist()
    seen: list[list[int]] = []
    objective = recommender.objective

    def watched(network: Backbone, users: Tensor, pos_items: Tensor, neg_items: Tensor) -> tuple[Tensor, Tensor]:
        seen.extend(torch.stack([users, pos_items]).T.tolist())
        return objective(network, users, pos_items, neg_items)

    recommender.objective = watched  # type: ignore[assignment]
    loss = controllers_loss((users, items), recommender, first_batch())
    assert len(seen) == 512 and all(pair in pairs for pair in seen)
    assert loss.item() == 0
    loss.backward()
    moved = {name for name, each in network.named_parameters() if each.grad is not None and each.grad.any()}
    assert moved and all(".controller." in name for name in moved)
    assert len(soft_tables(network)) == len(network.tables)


def test_a_small_step_of_the_controllers_lowers_the_validation_loss() -> None:
    found = learning(MF)
    recommender, network, batch = found.problem.recommender, found.problem.network, first_batch()
    pairs = found.problem.validation_pairs()
    (table,) = soft_tables(network)

    def measured() -> float:
        torch.manual_seed(5)
        rows = torch.randint(len(pairs[0]), (512,))
        with table.deciding(), torch.no_grad():
            return float(recommender.objective(network, pairs[0][rows], pairs[1][rows], batch.neg_items)[0])

    before = measured()
    torch.manual_seed(5)
    controllers_loss(pairs, recommender, batch).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    assert measured() < before


def test_sizes_are_those_of_the_largest_weights_where_the_budget_is_their_sum() -> None:
    found = run(AutoEmb((2, 4), learn=Epochs(2), train=Epochs(0)), ["50%"])
    weights = found.problem.state["preferences"]
    assert weights.shape == (210, 3) and torch.allclose(weights.exp().sum(1), torch.ones(210))
    preferred = torch.tensor([2, 4, 8])[weights.argmax(1)]
    state = {"preferences": weights}
    again = run(AutoEmb((2, 4), learn=Epochs(2), train=Epochs(0)), [str(int(preferred.sum()))], state=state)
    (task,) = again.tasks  # weights are learned once
    assert task.allocation and task.allocation.sizes.equal(preferred)


def test_popular_rows_of_a_side_keep_the_larger_sizes_where_weights_say_nothing() -> None:
    state = {"preferences": torch.zeros(210, 3)}
    found = run(AutoEmb((2, 4), learn=Epochs(0), train=Epochs(0)), ["60%"], state=state)
    assert found.tasks[0].allocation
    sizes = found.tasks[0].allocation.sizes
    order = torch.cat(found.problem.frequencies).argsort(descending=True, stable=True)
    assert (sizes[order].diff() <= 0).all() and len(sizes.unique()) > 1


def test_every_budget_gets_its_sizes_from_one_learning() -> None:
    found = run(AutoEmb(learn=Epochs(1), train=Epochs(0)), ["50%", "25%"], NeuMF)
    assert [task.phase for task in found.tasks] == ["tune", "retrain", "retrain"]
    assert found.tasks[0].keep == "last" and isinstance(found.tasks[0].auxiliary_loss, partial)
    assert found.tasks[1].auxiliary_loss is None and found.problem.recommender.auxiliary_loss is None


def test_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match=r"search\.method\.candidates must be sizes in ascending order, got \[4, 2\]"):
        AutoEmb((4, 2))
    with pytest.raises(ValueError, match=r"search\.method\.controller_rate must be positive, got 0"):
        AutoEmb(controller_rate=0)
