"""``python -m tests.benchmarks.device``: what this machine's accelerator does, in one table and a few minutes.

For every backbone: whether it trains as on the CPU, a step on masked and on packed tables, the ranking of all users,
and with CUDA whether a step makes the host wait; at last a whole small run of the method. Without an accelerator, the
CPU is measured. ``--short`` takes tiny tables, to see that all of it works.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF
from bet_lightning.cli import main as bet_lightning
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR, Objective, SampledSoftmax
from bet_lightning.ranking import RankingMetrics
from bet_lightning.recommender import Recommender, make_optimizer
from bet_lightning.runs.folder import read_record
from bet_lightning.schedule import LRSchedule
from tests.benchmarks.data import GOWALLA_SHAPE, Bench

CASES: dict[str, tuple[Callable[..., Backbone], Objective]] = {
    "LightGCN": (LightGCN, SampledSoftmax()),
    "NGCF": (NGCF, SampledSoftmax()),
    "MF": (MF, SampledSoftmax()),
    "NeuMF": (NeuMF, BPR()),
}
BATCH, STEPS, KEPT = 2048, 20, 0.1
TOLERANCE = 1e-2  # of the weights' change in five steps: sums are made in another order on a device
SHORT = {"synthetic_users": 300, "synthetic_items": 400, "synthetic_interactions": 6_000}


class Case:
    """One backbone on one device.

    Args:
        network: The backbone.
        objective: Its loss.
        device: Where it is trained.
    """

    def __init__(self, network: Backbone, objective: Objective, device: torch.device) -> None:
        self.objective, self.device = objective, device
        self.use(network)

    def use(self, network: Backbone) -> None:
        """Train a backbone from now on."""
        self.network = network.to(self.device)
        self.recommender = Recommender(self.network, self.objective, 1e-4, metrics=RankingMetrics((20,)))
        self.optimizer, _ = make_optimizer(self.network, LRSchedule(1e-3), lambda: 1)

    def step(self, batch: BPRBatch) -> None:
        """One step of training."""
        self.optimizer.zero_grad()
        self.recommender.loss(batch).backward()
        self.optimizer.step()

    def seconds_a_step(self, batches: Sequence[BPRBatch]) -> float:
        """Median seconds of a step with what the device has queued."""
        found = []
        for batch in batches:
            begin = time.perf_counter()
            self.step(batch)
            synchronize(self.device)
            found.append(time.perf_counter() - begin)
        return statistics.median(found[len(found) // 4 :])

    def pack(self) -> None:
        """Keep a tenth of the parameters, packed."""
        sizes = torch.full((self.network.num_rows,), max(1, int(KEPT * self.network.row_width)))
        self.network.set_sizes(sizes.to(self.device))
        self.network.pack()
        self.use(self.network)


def synchronize(device: torch.device) -> None:
    """Wait for all that a device has queued."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Let CUDA refuse what makes the host wait."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def change(network: Backbone, before: Tensor) -> Tensor:
    """How its parameters changed."""
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach().cpu() - before


def trains_alike(case: Case, batches: Sequence[BPRBatch]) -> bool:
    """Whether five steps change the parameters as on the CPU, dropout apart."""
    case.network.eval()
    start = torch.nn.utils.parameters_to_vector(case.network.parameters()).detach().cpu()
    twin = Case(copy.deepcopy(case.network), case.objective, torch.device("cpu"))
    for batch in batches[:5]:
        case.step(batch)
        twin.step(BPRBatch(*(part.cpu() for part in batch)))
    expected = change(twin.network, start)
    case.network.train()
    return bool((change(case.network, start) - expected).norm() <= TOLERANCE * expected.norm())


def measure(name: str, bench: Bench, d: int, device: torch.device) -> list[str]:
    """A row of the table for one backbone."""
    make, objective = CASES[name]
    network = make(bench.edges, d)
    network.reset_parameters(torch.Generator().manual_seed(0))
    case = Case(network, objective, device)
    batches = [BPRBatch(*(part.to(device) for part in batch)) for batch in bench.batches(BATCH, STEPS)]
    alike = trains_alike(case, batches)
    masked = case.seconds_a_step(batches)
    waits = "no" if device.type == "cuda" else ""  # elsewhere nothing tells
    try:
        with no_waiting(device):
            case.step(batches[0])
    except RuntimeError as error:
        waits = str(error).splitlines()[0][:40]
    users = list(bench.all_users(1024))
    case.recommender.evaluate(users[:1])
    begin = time.perf_counter()
    case.recommender.evaluate(users)
    ranked = sum(len(batch.users) for batch in users) / (time.perf_counter() - begin)
    case.pack()
    packed = case.seconds_a_step(batches)
    return [name, "yes" if alike else "NO", f"{masked * 1e3:.1f}", f"{packed * 1e3:.1f}", waits, f"{ranked:,.0f}"]


def whole_run(shape: Mapping[str, int], d: int, device: torch.device) -> str:
    """Seconds of a small run of BET, and what it reached of the full table."""
    backbone = {"class_path": "LightGCN", "init_args": {"max_size": d}}
    settings = {
        "model": {"class_path": "RecommenderModule", "init_args": {"backbone": backbone}},
        "data": {"class_path": "InteractionDataModule", "init_args": {"name": "synthetic", **shape}},
        "search": {"budget": "10%"},
        "trainer": {"accelerator": device.type, "devices": 1, "enable_progress_bar": False},
    }
    method = {"pretrain.max_epochs": 3, "search.num_iterations": 5, "search.num_random": 2, "retrain.max_epochs": 2}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(settings))
        begin = time.perf_counter()
        options = [f"--search.method.{name}={value}" for name, value in method.items()]
        bet_lightning(["fit", f"--config={config}", f"--trainer.default_root_dir={folder}/run", *options])
        seconds = time.perf_counter() - begin
        reached = {result.name: result.valid["ndcg@20"] for result in read_record(Path(folder, "run")).results}
    quality = f"validation ndcg@20 {reached['bet']:.4f}, full table {reached['full']:.4f}"
    return f"a run of BET with LightGCN, 10 % of the parameters: {seconds:.0f} s, {quality}"


def main(args: Sequence[str] | None = None) -> list[list[str]]:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.device", description=__doc__)
    parser.add_argument("--data", default="synthetic", help="data set; default: a synthetic graph of Gowalla's shape")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--short", action="store_true", help="tiny tables")
    options = parser.parse_args(args)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert device is not None
    shape, d = (SHORT, 8) if options.short else (GOWALLA_SHAPE, 128)
    bench = Bench(options.data, options.data_dir, rounds=1, shape=shape)
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    console = Console(width=100)
    console.print(f"{name}; torch {torch.__version__}; {torch.get_num_threads()} threads")
    table = Table(box=SIMPLE_HEAD, padding=0)
    for column in ("backbone", "as on the CPU", "step ms", "packed step ms", "step waits", "users ranked a second"):
        table.add_column(column, justify="left" if column == "backbone" else "right")
    rows = [measure(each, bench, d, device) for each in CASES]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(whole_run(shape, d, device))
    return rows


if __name__ == "__main__":
    main()
