import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF, NormalizedGraph
from tests.benchmarks import rivals
from tests.benchmarks.data import Bench
from tests.benchmarks.test_benchmarks import DATA_DIR, needs_data

Reference = Callable[[Backbone, Tensor], rivals.Step]
REFERENCES: dict[str, tuple[type[Backbone], dict[str, float], Reference]] = {
    "MF": (MF, {}, lambda model, _: rivals.plain_mf_step(model)),
    "LightGCN": (LightGCN, {}, rivals.coo_lightgcn_step),
    "NGCF": (NGCF, {"message_dropout": 0.0}, rivals.coo_ngcf_step),
    "NeuMF": (NeuMF, {}, lambda model, _: rivals.plain_neumf_step(model)),
}


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", REFERENCES)
def test_fast_step_trains_what_the_reference_trains(name: str) -> None:
    make, arguments, reference = REFERENCES[name]
    bench = Bench("lastfm", Path(DATA_DIR), rounds=1)
    fast = make(bench.edges, 64, **arguments).double()
    fast.reset_parameters(torch.Generator().manual_seed(0))
    plain = copy.deepcopy(fast)
    start = torch.nn.utils.parameters_to_vector(fast.parameters()).detach().clone()
    # the same rounded weights of edges: NGCF's normalised outputs magnify the last bit within 20 steps
    adjacency = NormalizedGraph(bench.edges).double().csr().to_sparse_coo().coalesce()
    steps = rivals.our_step(fast, 2048), reference(plain, adjacency)
    for batch in bench.batches(2048, 20):
        for step in steps:
            step(batch)
    found, expected = (torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (fast, plain))
    assert (expected - start).norm() > 0.01 * start.norm()
    assert (found - expected).norm() / expected.norm() < 1e-10
