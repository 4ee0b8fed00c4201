"""Training steps of the backbones against peers and against the bare kernels they need."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytorch_lightning as pl
import torch
from torch_geometric.nn.models import LightGCN as PyGLightGCN

from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF
from bet_lightning.backbones.products import BLOCK_COLUMNS
from bet_lightning.modules import RecommenderModule
from bet_lightning.objectives import BPR
from tests.benchmarks import rivals
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row, Work, compare


def on_batches(step: rivals.Step, bench: Bench, size: int) -> Work:
    """A step on the next of a few batches."""
    batches = itertools.cycle(bench.batches(size, 3))
    return lambda: step(next(batches))


def adam_floor(backbone: Backbone) -> Work:
    """Adam's pass over all parameters, with gradients already there."""
    parameters = [torch.nn.Parameter(p.detach().clone()) for p in backbone.parameters()]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return torch.optim.Adam(parameters, lr=1e-3, fused=True).step


def lightgcn_floor(backbone: LightGCN, d: int) -> Work:
    """Four of torch's products with the adjacency, in the columns at a time that are fastest, and Adam."""
    adam, matrix = adam_floor(backbone), backbone.graph.csr()
    blocks = [torch.randn(backbone.num_rows, min(BLOCK_COLUMNS, d)) for _ in range(-(-d // BLOCK_COLUMNS))]

    def floor() -> None:
        for block in blocks:
            for _ in range(4):
                matrix @ block
        adam()

    return floor


def compare_steps(
    name: str,
    ours: Backbone,
    others: Mapping[str, rivals.Step],
    bench: Bench,
    d: int,
    batch: int,
    threads: int,
    floor: Work | None = None,
) -> list[Row]:
    """Steps on the same batches."""
    return compare(
        name,
        on_batches(rivals.our_step(ours, batch), bench, batch),
        {rival: on_batches(step, bench, batch) for rival, step in others.items()},
        floor=floor,
        d=d,
        batch=batch,
        threads=threads,
        rounds=bench.rounds,
    )


def lightgcn(bench: Bench, d: int, batch: int, threads: int) -> list[Row]:
    """LightGCN with three layers against torch_geometric's and a COO implementation."""
    ours = LightGCN(bench.edges, d)
    on_index, on_csr = (PyGLightGCN(bench.num_rows, d, 3, normalize=normalize) for normalize in (True, False))
    others = {
        "torch_geometric, CSR": rivals.pyg_lightgcn_step(on_csr, ours.graph.csr(), ours.num_users),
        "torch_geometric, edge_index": rivals.pyg_lightgcn_step(on_index, bench.edge_index, ours.num_users),
        "COO, six products, plain Adam": rivals.coo_lightgcn_step(LightGCN(bench.edges, d), bench.adjacency),
    }
    if (recbole := rivals.recbole_lightgcn_step(bench.edges, d)) is not None:
        others["RecBole"] = recbole
    return compare_steps("LightGCN step", ours, others, bench, d, batch, threads, lightgcn_floor(ours, d))


def ngcf(bench: Bench, d: int, batch: int, threads: int) -> list[Row]:
    """NGCF with three layers and message dropout against its straightforward form."""
    others = {"COO, all layers of all rows": rivals.coo_ngcf_step(NGCF(bench.edges, d), bench.adjacency)}
    return compare_steps("NGCF step", NGCF(bench.edges, d), others, bench, d, batch, threads)


def neumf(bench: Bench, d: int, batch: int, threads: int) -> list[Row]:
    """NeuMF against its straightforward forms."""
    ours = NeuMF(bench.edges, d)
    others = {
        "a lookup a side, plain Adam": rivals.plain_neumf_step(NeuMF(bench.edges, d)),
        "whole table masked, plain Adam": rivals.masked_neumf_step(NeuMF(bench.edges, d)),
    }
    return compare_steps("NeuMF step", ours, others, bench, d, batch, threads)


def mf_epoch(bench: Bench, d: int, batch: int, threads: int) -> list[Row]:
    """A whole epoch of MF, sampling included, against ``implicit`` (if it is installed)."""
    step = rivals.our_step(MF(bench.edges, d), batch)
    bench.data.triplets.batch_size = batch

    def epoch() -> None:
        for triplets in bench.data.train_dataloader():
            step(triplets)

    return compare(
        "MF epoch",
        epoch,
        _implicit_epoch(bench, d, threads),
        d=d,
        batch=batch,
        threads=threads,
        rounds=min(3, bench.rounds),
        units=bench.data.triplets.num_triplets,
    )


def _implicit_epoch(bench: Bench, d: int, threads: int) -> dict[str, Work]:
    try:
        from implicit.bpr import BayesianPersonalizedRanking
        from scipy.sparse import csr_matrix
    except ImportError:
        return {}
    train = bench.data.dataset.train
    matrix = csr_matrix((np.ones(train.nnz, np.float32), train.indices, train.indptr), (train.num_rows, train.num_cols))

    def epoch() -> None:
        model = BayesianPersonalizedRanking(factors=d, iterations=1, num_threads=threads, use_gpu=False)
        model.fit(matrix, show_progress=False)

    return {"implicit": epoch}


def lightning_overhead(bench: Bench, d: int, batch: int, threads: int) -> list[Row]:
    """Steps of LightGCN in a Trainer against the same steps in a bare loop: ours is the Trainer."""
    num_steps = min(30, len(bench.batches(batch, 30)))
    bench.data.triplets.batch_size = batch
    module = RecommenderModule(lambda edges: LightGCN(edges, d), objective=BPR())
    module.build(bench.data.dataset.train)
    trainer = pl.Trainer(
        max_epochs=-1,
        max_steps=num_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    bare = rivals.our_step(LightGCN(bench.edges, d), batch)

    def with_trainer() -> None:
        trainer.fit_loop.epoch_loop.batch_progress.reset()
        trainer.fit_loop.epoch_loop.max_steps = trainer.global_step + num_steps
        trainer.fit(module, train_dataloaders=bench.data.train_dataloader())

    def loop() -> None:
        for triplets in itertools.islice(iter(bench.data.train_dataloader()), num_steps):
            bare(triplets)

    return compare(
        f"{num_steps} LightGCN steps in a Trainer",
        with_trainer,
        {"bare loop": loop},
        d=d,
        batch=batch,
        threads=threads,
        rounds=min(3, bench.rounds),
    )


WORKS = {
    "LightGCN, d=64": lambda bench, threads: lightgcn(bench, 64, 2048, threads),
    "LightGCN, d=128": lambda bench, threads: lightgcn(bench, 128, 10_000, threads),
    "NGCF": lambda bench, threads: ngcf(bench, 64, 2048, threads),
    "NeuMF": lambda bench, threads: neumf(bench, 64, 2048, threads),
    "MF epoch": lambda bench, threads: mf_epoch(bench, 64, 2048, threads),
    "MF epoch, large batches": lambda bench, threads: mf_epoch(bench, 64, 16_384, threads),
    "Lightning": lambda bench, threads: lightning_overhead(bench, 64, 2048, threads),
}
