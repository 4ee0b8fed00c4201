from __future__ import annotations

import numpy as np
import pytest
import torch

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.data import Csr
from bet_lightning.modules import RecommenderModule
from bet_lightning.objectives import BPR, ItemPowers, SampledSoftmax
from bet_lightning.ranking.ranker import scale_items

EDGES = Edges(torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor([0, 3, 1, 3, 2, 4]), 4, 6)
USERS, POSITIVES, NEGATIVES = torch.tensor([0, 2, 3]), torch.tensor([3, 2, 4]), torch.tensor([1, 5, 0])


@pytest.mark.parametrize("make", [MF, LightGCN, NGCF])
def test_equals_cross_entropy_over_cosines(make: type[Backbone]) -> None:
    network = make(EDGES, 5).eval()  # type: ignore[call-arg]
    network.set_sizes(torch.arange(10) % 6)
    loss, penalty = SampledSoftmax(num_negatives=2, temperature=0.3)(network, USERS, POSITIVES, NEGATIVES)
    encoded = network.encode()
    users, items = (torch.nn.functional.normalize(vectors) for vectors in (encoded.users, encoded.items))
    cosines = users[USERS] @ items.T / 0.3
    logits = torch.cat([cosines.gather(1, POSITIVES[:, None]), cosines[:, NEGATIVES[:2]]], 1)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(loss, expected)
    table = network.table()()
    squares = table[USERS].square().sum() + table[POSITIVES + 4].square().sum()
    torch.testing.assert_close(penalty, squares / 6)
    (loss + penalty).backward()
    assert network.table().weight.grad is not None
    assert network.table().weight.grad.abs().sum() > 0


def test_ranks_by_powers_of_norm_and_popularity() -> None:
    network = LightGCN(EDGES, 5).eval()
    encoded = network.encode()
    cosines = torch.nn.functional.normalize(encoded.items)
    frequency = network.frequency[4:]
    whole, none, half = (
        scale_items(encoded, frequency, SampledSoftmax(norm_power=p, popularity_power=0.0).item_powers)
        for p in (1.0, 0.0, 0.5)
    )
    torch.testing.assert_close(whole.items, encoded.items)
    torch.testing.assert_close(none.items, cosines)
    torch.testing.assert_close(half.items.norm(dim=1), encoded.items.norm(dim=1).sqrt())
    torch.testing.assert_close(half.users, encoded.users)
    popular = scale_items(encoded, frequency, ItemPowers(0.0, 0.5))
    counted = torch.tensor([1, 1, 1, 2, 1, 1])  # item 5 has no interactions and counts as if it had one
    torch.testing.assert_close(popular.items, cosines * counted[:, None].sqrt())
    assert BPR().item_powers is None


def test_refuses_what_it_cannot_train() -> None:
    with pytest.raises(ValueError, match="scores by dot products, got NeuMF"):
        SampledSoftmax()(NeuMF(EDGES, 5), USERS, POSITIVES, NEGATIVES)
    module = RecommenderModule(lambda edges: NeuMF(edges, 5), objective=SampledSoftmax(), ks=(2,))
    with pytest.raises(ValueError, match="scores by dot products, got NeuMF"):
        module.build(Csr.from_pairs(np.array([0, 1]), np.array([0, 2]), 2, 3))
    with pytest.raises(ValueError, match=r"model\.objective\.norm_power must be in \[0, 1\], got 1\.5"):
        SampledSoftmax(norm_power=1.5)
    with pytest.raises(ValueError, match=r"got num_negatives=0, temperature=0\.1"):
        SampledSoftmax(num_negatives=0)
