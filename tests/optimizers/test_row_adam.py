"""Steps by rows against Adam over whole tables."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bet_lightning.backbones import MF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR, Objective, SampledSoftmax, total_loss
from bet_lightning.optimizers import RowAdam, can_step_by_rows, pays_by_rows, release_rows
from bet_lightning.recommender import make_optimizer
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import MaskedEmbedding

pytest.importorskip("numba")
USERS, ITEMS, WIDTH = 60, 90, 4
EDGES = Edges(torch.arange(USERS), torch.arange(USERS), USERS, ITEMS)


def make_network(kind: Callable[..., Backbone], sizes: Tensor | None = None, packed: bool = False) -> Backbone:
    generator = torch.Generator().manual_seed(0)
    network = kind(EDGES, WIDTH, init_std=0.5)
    network.reset_parameters(generator)
    if sizes is not None:
        network.set_sizes(sizes)
    if packed:
        network.pack()
    return network


def random_sizes(largest: int) -> Tensor:
    return torch.randint(largest + 1, (USERS + ITEMS,), generator=torch.Generator().manual_seed(1))


def batches(count: int, size: int = 4) -> list[BPRBatch]:
    generator = torch.Generator().manual_seed(2)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (size,), generator=generator)

    return [BPRBatch(draw(USERS), draw(ITEMS), draw(ITEMS)) for _ in range(count)]


def adam(network: Backbone) -> tuple[torch.optim.Optimizer, LambdaLR]:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    return optimizer, LambdaLR(optimizer, lambda step: 0.97**step)


def row_adam(network: Backbone) -> tuple[torch.optim.Optimizer, LambdaLR]:
    optimizer = RowAdam(network, lr=0.02)
    return optimizer, LambdaLR(optimizer, lambda step: 0.97**step)


def train(
    network: Backbone,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    steps: list[BPRBatch],
    objective: Objective | None = None,
) -> list[float]:
    losses = []
    for batch in steps:
        optimizer.zero_grad()
        loss = total_loss(network, objective or BPR(), 0.1, batch)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    return losses


CASES = [
    (MF, None, False, BPR()),
    (MF, random_sizes(WIDTH), False, BPR()),
    (MF, random_sizes(WIDTH), True, BPR()),
    # no row is as wide as the table; none has one value, whose cosine has no gradient but rounding: Adam scales it up
    (MF, 2 * random_sizes(1), True, SampledSoftmax(3)),
    (NeuMF, None, False, BPR()),
    (NeuMF, random_sizes(2 * WIDTH), True, BPR()),
]


@pytest.mark.parametrize(("kind", "sizes", "packed", "objective"), CASES)
def test_it_is_adam_over_the_whole_table(
    kind: Callable[..., Backbone], sizes: Tensor | None, packed: bool, objective: Objective
) -> None:
    ours = make_network(kind, sizes, packed)
    plain = copy.deepcopy(ours)
    optimizer, scheduler = row_adam(ours)
    reference, its_scheduler = adam(plain)
    for part in (batches(70)[:30], batches(70)[30:]):  # all rows are brought up to date in between
        found = train(ours, optimizer, scheduler, part, objective)
        expected = train(plain, reference, its_scheduler, part, objective)
        assert found == pytest.approx(expected, abs=1e-5)
        for name, value in plain.state_dict().items():
            if name != "output.bias":  # whose gradient is rounding, too
                torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-4)
    theirs = reference.state_dict()["state"]
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(value, theirs[index][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_means_in_files_are_those_in_memory(tmp_path: Path, packed: bool) -> None:
    ours, plain = (make_network(MF, random_sizes(WIDTH), packed) for _ in range(2))
    mapped, held = RowAdam(ours, lr=0.02, state_dir=tmp_path), RowAdam(plain, lr=0.02)
    schedules = [LambdaLR(optimizer, lambda step: 1.0) for optimizer in (mapped, held)]
    steps = batches(30)
    assert train(ours, mapped, schedules[0], steps[:20]) == train(plain, held, schedules[1], steps[:20])
    assert list(tmp_path.iterdir()) == []  # nothing stays if the process ends
    values = ours.prefix_table().parameter
    where = mapped.state[values]["exp_avg"].data_ptr()
    earlier = copy.deepcopy((plain.state_dict(), held.state_dict()))
    train(ours, mapped, schedules[0], steps[20:])
    ours.load_state_dict(earlier[0])
    mapped.load_state_dict(earlier[1])
    assert mapped.state[values]["exp_avg"].data_ptr() == where  # what is gone on from is mapped too
    assert train(ours, mapped, schedules[0], steps[20:]) == train(plain, held, schedules[1], steps[20:])
    assert ours.state_dict()["tables.0." + ("values" if packed else "weight")].equal(
        plain.state_dict()["tables.0." + ("values" if packed else "weight")]
    )


def test_rows_are_up_to_date_however_they_are_read() -> None:
    plain = make_network(MF)
    train(plain, *adam(plain), batches(9))
    expected = plain.masked_table().weight

    def close(found: Tensor) -> None:
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-5)

    reads: list[Callable[[MF], Tensor]] = [
        lambda network: network.state_dict()["tables.0.weight"],
        lambda network: network.table()().detach(),
        lambda network: torch.cat(tuple(network.encode())),
        lambda network: copy.deepcopy(network).masked_table().weight.detach(),
    ]
    for read in reads:
        network = make_network(MF)
        assert isinstance(network, MF)
        train(network, *row_adam(network), batches(9))
        assert not network.masked_table().weight.equal(expected)  # rows that were not met owe their last steps
        close(read(network))


def test_copies_have_ordinary_gradients_and_weights_that_are_loaded_stay() -> None:
    network = make_network(MF)
    train(network, *row_adam(network), batches(5))
    twin = copy.deepcopy(network)
    assert twin.masked_table().row_updates is None and network.masked_table().row_updates is not None
    before = make_network(MF).state_dict()
    network.load_state_dict(before)
    assert network.table()().equal(before["tables.0.weight"])


def test_either_goes_on_from_the_others_state() -> None:
    steps = batches(40)
    plain = make_network(MF)
    train(plain, *adam(plain), steps)
    for first, second in ((adam, row_adam), (row_adam, adam)):
        network = make_network(MF)
        optimizer, scheduler = first(network)
        train(network, optimizer, scheduler, steps[:20])
        state = copy.deepcopy(optimizer.state_dict())
        release_rows(network)
        following, its_scheduler = second(network)
        following.load_state_dict(state)
        its_scheduler.load_state_dict(scheduler.state_dict())
        train(network, following, its_scheduler, steps[20:])
        torch.testing.assert_close(network.table()(), plain.table()(), rtol=0, atol=1e-4)


def test_gradients_of_several_batches_add_up() -> None:
    one, other = batches(2)
    ours, plain = make_network(MF), make_network(MF)
    for network, make in ((ours, row_adam), (plain, adam)):
        optimizer, _ = make(network)
        for batch in (one, other):
            total_loss(network, BPR(), 0.1, batch).backward()
        optimizer.step()
    torch.testing.assert_close(ours.table()(), plain.table()(), rtol=0, atol=1e-5)


def test_a_step_touches_no_other_rows() -> None:
    network = make_network(MF)
    weight = network.masked_table().weight
    before = weight.detach().clone()
    optimizer, scheduler = row_adam(network)
    (batch,) = batches(1)
    train(network, optimizer, scheduler, [batch])
    assert weight.grad is None
    changed = (weight.detach() != before).any(1).nonzero().flatten().tolist()
    met = {*batch.users.tolist(), *(USERS + batch.pos_items).tolist(), *(USERS + batch.neg_items).tolist()}
    assert set(changed) == met


def test_a_loss_that_reads_the_whole_table_is_refused() -> None:
    network = make_network(MF)
    optimizer, _ = row_adam(network)
    network.table()().square().sum().backward()
    with pytest.raises(RuntimeError, match=r"a loss reads a whole table.*model\.row_steps false"):
        optimizer.step()


def test_where_it_can_be_used_and_where_it_pays() -> None:
    assert can_step_by_rows(make_network(MF)) and can_step_by_rows(make_network(NeuMF))
    graph = LightGCN(EDGES, WIDTH)
    assert not can_step_by_rows(graph)
    with pytest.raises(ValueError, match="steps by rows need a backbone that only looks rows up"):
        RowAdam(graph)
    network = make_network(MF)
    assert pays_by_rows(network, 2) and not pays_by_rows(network, 2_000)


def test_the_next_optimizer_takes_over() -> None:
    network = make_network(MF)
    table = network.table()
    assert isinstance(table, MaskedEmbedding)
    schedule = LRSchedule(0.1)
    by_rows, _ = make_optimizer(network, schedule, lambda: 1, by_rows=True)
    assert isinstance(by_rows, RowAdam) and table.row_updates is by_rows
    dense, _ = make_optimizer(network, schedule, lambda: 1)
    assert not isinstance(dense, RowAdam) and table.row_updates is None
    total_loss(network, BPR(), 0.1, batches(1)[0]).backward()
    assert isinstance(table.weight, nn.Parameter) and table.weight.grad is not None
