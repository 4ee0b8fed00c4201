"""From files to a data module, and from interactions to an adjacency."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from bet_lightning.backbones import NormalizedGraph
from bet_lightning.data import InteractionDataModule
from tests.benchmarks.data import Bench
from tests.benchmarks.measure import Row, compare


def dictionary_adjacency(bench: Bench) -> Tensor:
    """A COO adjacency by way of a dictionary of pairs, as RecBole builds it."""
    users, items = bench.edges.users.tolist(), (bench.edges.items + bench.edges.num_users).tolist()
    pairs = dict(zip(zip(users, items, strict=True), [1.0] * len(users), strict=True))
    pairs.update(dict(zip(zip(items, users, strict=True), [1.0] * len(users), strict=True)))
    heads, tails = (torch.tensor(side) for side in zip(*pairs, strict=True))
    degree = torch.bincount(heads, minlength=bench.num_rows).clamp(min=1).float()
    value = torch.tensor(list(pairs.values())) * (degree[heads] * degree[tails]).rsqrt()
    return torch.sparse_coo_tensor(torch.stack([heads, tails]), value, (bench.num_rows,) * 2).coalesce()


def adjacency(bench: Bench, threads: int) -> list[Row]:
    """Normalised adjacency from the training edges."""
    edges = bench.edges
    return compare(
        "adjacency",
        lambda: NormalizedGraph(edges),
        {"dictionary of pairs": lambda: dictionary_adjacency(bench)},
        threads=threads,
        rounds=min(3, bench.rounds),
        units=len(edges.users),
    )


def line_loop(path: Path) -> tuple[list[int], list[int]]:
    """Read an adjacency list line by line."""
    users, items = [], []
    with path.open() as lines:
        for line in lines:
            first, *rest = (int(word) for word in line.split())
            users += [first] * len(rest)
            items += rest
    return users, items


def reading(bench: Bench, threads: int) -> list[Row]:
    """Text files to a data module that is ready to train, split included."""
    with TemporaryDirectory() as scratch:
        arguments: dict[str, str] = {"name": bench.name, "data_dir": str(bench.folder)}
        files = sorted((bench.folder / bench.name).glob("t*.txt"))
        if bench.name == "synthetic":
            files = [Path(scratch) / "synthetic.txt"]
            train = bench.data.dataset.train
            lines = (train.indices[train.indptr[u] : train.indptr[u + 1]] for u in range(train.num_rows))
            files[0].write_text("".join(f"{u} {' '.join(map(str, line))}\n" for u, line in enumerate(lines)))
            arguments = {"path": str(files[0])}

        def ready() -> None:
            module = InteractionDataModule(**arguments)  # type: ignore[arg-type]
            module.setup("fit")
            module.train_dataloader()
            module.val_dataloader()

        return compare(
            f"{bench.name}: files to data module",
            ready,
            {"lines in Python, read only": lambda: [line_loop(path) for path in files]},
            threads=threads,
            rounds=min(3, bench.rounds),
        )


def reading_more(bench: Bench, threads: int) -> list[Row]:
    """The same of Yelp2018, where that is beside Gowalla."""
    if bench.name != "gowalla" or not (bench.folder / "yelp2018").is_dir():
        return []
    return reading(Bench("yelp2018", bench.folder, bench.rounds), threads)


WORKS = {"adjacency": adjacency, "reading": reading, "reading more": reading_more}
