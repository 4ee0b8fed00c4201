"""Tables whose columns several processes share: three of them, against one that has the whole table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bet_lightning.backbones import MF, Edges, LightGCN
from bet_lightning.backbones.dot import DotProductBackbone
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR, Objective, SampledSoftmax
from bet_lightning.recommender import Recommender
from bet_lightning.tables import MaskedEmbedding
from bet_lightning.tables.column_shard import ColumnShard

RANKS, USERS, ITEMS, WIDTH, BATCH = 3, 30, 40, 7, 25  # neither columns nor triplets can be shared evenly
LOSSES = [(kind, loss) for kind in (LightGCN, MF) for loss in (BPR(), SampledSoftmax(8))]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def make_network(kind: type[DotProductBackbone]) -> DotProductBackbone:
    cells = torch.randperm(USERS * ITEMS, generator=generator())[:300].sort().values
    network = kind(Edges(cells // ITEMS, cells % ITEMS, USERS, ITEMS), WIDTH)
    network.reset_parameters(generator())
    network.set_sizes(torch.randint(0, WIDTH, (USERS + ITEMS,), generator=generator()))  # none has the last column
    return network


def make_batch() -> BPRBatch:
    users, pos_items, neg_items = (
        torch.randint(0, high, (BATCH,), generator=generator()) for high in (USERS, ITEMS, ITEMS)
    )
    return BPRBatch(users, pos_items, neg_items.flip(0))


def one_step(network: DotProductBackbone, objective: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of a batch."""
    loss = Recommender(network, objective, l2=0.01).loss(make_batch())
    loss.backward()
    gradient = network.prefix_table().parameter.grad
    assert gradient is not None
    return loss.detach(), gradient


def on_rank(rank: int, check: Callable[[], None], store: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    try:
        check()
    finally:
        dist.destroy_process_group()


def on_all_ranks(check: Callable[[], None], folder: Path) -> None:
    mp.spawn(on_rank, (check, folder / "store"), nprocs=RANKS)  # type: ignore[attr-defined, no-untyped-call]


def share_out(network: DotProductBackbone) -> ColumnShard:
    shard = ColumnShard(network.masked_table())
    network.use_tables([shard])
    return shard


def losses_gradients_and_vectors_are_those_of_the_whole_table() -> None:
    for kind, objective in LOSSES:
        whole, network = make_network(kind), make_network(kind)
        shard = share_out(network)
        assert shard.weight.shape == (USERS + ITEMS, 3) and network.num_used == whole.num_used
        (expected, gradient), (loss, part) = one_step(whole, objective), one_step(network, objective)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(part, shard.part_of(gradient), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(network.encode(), whole.encode(), rtol=1e-5, atol=1e-7)


def states_are_those_of_the_whole_table() -> None:
    whole, network = make_network(LightGCN), make_network(LightGCN)
    shard = share_out(network)
    inside = torch.arange(WIDTH) < whole.sizes.unsqueeze(1)
    for name, value in whole.state_dict().items():
        assert network.state_dict()[name].equal(value), name
    other = make_network(LightGCN)
    other.reset_parameters(torch.Generator().manual_seed(1))
    other.set_sizes(torch.full((USERS + ITEMS,), WIDTH))
    network.load_state_dict(other.state_dict())
    assert shard.weight.equal(shard.part_of(other.masked_table().weight))
    network.unpack()
    assert type(network.table()) is MaskedEmbedding and network.masked_table().weight.equal(other.masked_table().weight)
    assert not network.masked_table()().equal(whole.masked_table()() * inside)


def fresh_weights_are_those_of_the_whole_table() -> None:
    whole, network = make_network(LightGCN), make_network(LightGCN)
    shard = share_out(network)
    for each in (whole, network):
        each.reset_parameters(torch.Generator().manual_seed(5))
    assert shard.weight.equal(shard.part_of(whole.masked_table().weight))
    with pytest.raises(ValueError, match=r"unpack\(\) them"):
        network.set_sizes(torch.zeros(USERS + ITEMS, dtype=torch.int64))


CHECKS = (
    losses_gradients_and_vectors_are_those_of_the_whole_table,
    states_are_those_of_the_whole_table,
    fresh_weights_are_those_of_the_whole_table,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_three_processes_share_a_table(check: Callable[[], None], tmp_path: Path) -> None:
    on_all_ranks(check, tmp_path)


@pytest.mark.parametrize("objective", [BPR(), SampledSoftmax(4)])
def test_parts_of_a_batch_add_up(objective: Any) -> None:
    batch, network = make_batch(), make_network(MF)
    parts = [objective.part(batch, rank, RANKS) for rank in range(RANKS)]
    shares = [len(part.users) / BATCH for part in parts]
    losses = torch.stack([torch.stack(objective(network, *part)) for part in parts])
    torch.testing.assert_close(
        (losses * torch.tensor(shares).unsqueeze(1)).sum(0), torch.stack(objective(network, *batch))
    )
