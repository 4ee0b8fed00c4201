"""What ``callbacks/devices.py`` needs of Lightning's and DDP's private parts, and that no other file touches any."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

import bet_lightning
from bet_lightning.callbacks import devices
from bet_lightning.methods.tasks import Epochs, Outcome, Round, Task
from tests.callbacks.conftest import assert_same, make_data, make_module, make_trainer

PACKAGE = Path(bet_lightning.__file__).parent
DEVICES = PACKAGE / "callbacks" / "devices.py"
FOREIGN = ("pytorch_lightning", "lightning_fabric", "torch", "torchmetrics", "jsonargparse")
PUBLIC = {"_replace", "_asdict", "_fields"}  # of NamedTuples, whose names have an underscore only to keep apart
# extension points of torch and of the command line that have no public form
OVERRIDDEN = {
    "bet_lightning.backbones.lightgcn.LightGCN._load_from_state_dict",
    "bet_lightning.tables.column_shard.ColumnShard._load_from_state_dict",
    "bet_lightning.tables.column_shard.ColumnShard._save_to_state_dict",
    "bet_lightning.tables.masked.MaskedEmbedding._load_from_state_dict",
    "bet_lightning.tables.packed.PackedEmbedding._load_from_state_dict",
    "bet_lightning.tables.prefix_table.PrefixTable._load_from_state_dict",
    "bet_lightning.tables.prefix_table.PrefixTable._save_to_state_dict",
    "bet_lightning.cli.BETCLI._parse_ckpt_path",
    "bet_lightning.cli.BETCLI._get",
}


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def private_attributes(tree: ast.AST) -> set[str]:
    """Private attributes of anything but ``self`` and ``cls``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def own_names(tree: ast.AST) -> set[str]:
    """What a file defines itself: functions, methods, and attributes that are set on ``self``."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            names |= {node.attr} if node.value.id == "self" else set()
    return names


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """All files of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def classes() -> Iterator[type]:
    """All classes of the package."""
    for found in pkgutil.walk_packages([str(PACKAGE)], "bet_lightning."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            yield from (
                each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == found.name
            )


def test_no_other_file_touches_private_attributes_of_foreign_objects() -> None:
    touched = {
        str(path.relative_to(PACKAGE)): names
        for path, tree in sources()
        if path != DEVICES and (names := private_attributes(tree) - own_names(tree) - PUBLIC)
    }
    # `super()._load_from_state_dict` of the tables is what torch lets subclasses extend
    assert touched == {}


def test_no_file_imports_private_names_of_foreign_packages() -> None:
    imported = {
        (path.name, f"{node.module}.{alias.name}")
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FOREIGN
        for alias in node.names
        if any(is_private(part) for part in (*node.module.split("."), alias.name))
    }
    assert imported == set()


def test_classes_use_no_private_part_of_foreign_bases_but_a_few_that_are_named() -> None:
    found = set()
    for each in classes():
        foreign = [base for base in each.__mro__ if base.__module__.split(".")[0] in FOREIGN]
        nodes = list(ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(each)))))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        names = {name for name in used | defined if is_private(name) and any(name in vars(base) for base in foreign)}
        found |= {f"{each.__module__}.{each.__qualname__}.{name}" for name in names}
    assert found == OVERRIDDEN


def test_what_is_private_in_lightning_and_ddp_is_where_it_is_looked_for(tmp_path: Path) -> None:
    """Every name in ``devices.py`` that begins with an underscore, on the object that it is taken from."""
    trainer = make_trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    assert trainer._signal_connector.received_sigterm is False
    assert trainer.received_sigterm is False
    trainer._signal_connector.received_sigterm = True
    assert trainer.received_sigterm is True  # a note there is what a trainer reads
    trainer._signal_connector.received_sigterm = False
    assert isinstance(trainer.fit_loop, _FitLoop) and isinstance(trainer.fit_loop.epoch_loop, _TrainingEpochLoop)
    assert trainer.fit_loop._combined_loader is None
    advance = inspect.getsource(_TrainingEpochLoop.advance)
    assert "self._broadcast_sigterm_tensor()" in advance  # looked up on the loop, so that it can be replaced there
    data = make_data()
    trainer.fit(make_module(), datamodule=data)
    assert trainer.fit_loop._combined_loader is not None
    assert trainer.fit_loop.restarted_on_epoch_start is False and trainer.fit_loop.epoch_loop.restarting is False
    assert "self._combined_loader is not None" in inspect.getsource(_FitLoop.setup_data)  # else it asks for loaders
    used = private_attributes(ast.parse(DEVICES.read_text()))
    own = {"_signal_connector", "_broadcast_sigterm_tensor", "_combined_loader", "_module_parameters", "_wandb_init"}
    assert used == own
    settings = WandbLogger(offline=True)._wandb_init
    assert settings["id"] is None and "name" in settings  # from which it begins its run
    for name in ("reduce_boolean_decision", "broadcast", "all_gather", "configure_ddp"):
        assert callable(getattr(DDPStrategy, name))


def test_loaders_are_asked_for_again_where_they_are_forgotten(tmp_path: Path) -> None:
    class Forget(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.datamodule.batch_size = None  # type: ignore[attr-defined]
            trainer.datamodule.triplets.batch_size = 128  # type: ignore[attr-defined]
            counts.append(trainer.num_training_batches)
            trainer.fit_loop._combined_loader = None
            trainer.fit_loop.setup_data()

    counts: list[Any] = []
    trainer = make_trainer(tmp_path, Forget(), max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(make_module(), datamodule=make_data(batch_size=256))
    assert counts[1] in (2 * counts[0], 2 * counts[0] - 1)
    assert trainer.global_step == sum(counts)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_a_wrapper_knows_the_parameters_that_it_averages() -> None:
    module = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)])
    wrapped = DistributedDataParallel(module)
    before = {id(parameter) for parameter in module.parameters()}
    assert devices._known(wrapped) == before
    module[1] = torch.nn.Linear(3, 1)
    assert devices._known(wrapped) == before != {id(parameter) for parameter in module.parameters()}
    for name in ("require_backward_grad_sync", "require_forward_param_sync", "broadcast_buffers"):
        assert getattr(wrapped, name) is True


@pytest.mark.usefixtures("one_process")
def test_a_module_is_wrapped_again_only_where_it_has_new_parameters() -> None:
    module = make_module()
    data = make_data()
    data.setup("fit")
    module.build(data.dataset.train)
    strategy = DDPStrategy(accelerator=pl.accelerators.CPUAccelerator(), parallel_devices=[torch.device("cpu")])
    strategy.connect(module)
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=2)
    strategy.configure_ddp()
    first = strategy.model
    devices.wrap_again(trainer, module.network)
    assert strategy.model is first
    module.network.pack()
    devices.wrap_again(trainer, module.network)
    assert isinstance(strategy.model, DistributedDataParallel) and strategy.model is not first
    assert devices._known(strategy.model) == {id(parameter) for parameter in module.parameters()}
    assert strategy.model.broadcast_buffers is False


def test_one_device_needs_nothing_of_this(tmp_path: Path) -> None:
    trainer, module, data = make_trainer(tmp_path), make_module(), make_data()
    data.setup("fit")
    module.build(data.dataset.train)
    trainer.datamodule = data  # type: ignore[attr-defined]
    assert devices.any_rank(trainer, True) is True and devices.any_rank(trainer, False) is False
    value = {"metrics": 1.0}
    assert devices.agreement(trainer)(value) is value
    devices.share_data(trainer, module, False)
    assert data.shared and module.shared
    devices.wrap_again(trainer, module.network)
    with devices.alone(trainer, module):
        assert data.shared and module.shared


class Ranks:
    """What a strategy brings to one rank from all."""

    root_device = torch.device("cpu")

    def __init__(self, weights: list[dict[str, torch.Tensor]]) -> None:
        self.rows: list[torch.Tensor] = []
        self.weights = weights

    def all_gather(self, row: torch.Tensor) -> torch.Tensor:
        """Stack the rows given so far and this one."""
        self.rows.append(row)
        return torch.stack(self.rows)

    def broadcast(self, mine: dict[str, torch.Tensor], src: int) -> dict[str, torch.Tensor]:
        """The weights of another rank."""
        return self.weights[src]


def test_ranks_exchange_outcomes_and_the_weights_that_are_kept() -> None:
    tasks = [Task("retrain", "a", Epochs(3), "a"), Task("probe", "b", Epochs(3))]
    weights = [{"w": torch.tensor([1.0])}, {}]
    outcomes = [
        Outcome({"recall@5": 0.25, "ndcg@5": 1 / 3}, 3, 2, 0.5, False, weights[0]),
        Outcome({}, 1, 0, 0.25, True),
    ]
    strategy = Ranks(weights)
    trainer: Any = SimpleNamespace(strategy=strategy)
    names = ("recall@5", "ndcg@5")
    with pytest.raises(IndexError):  # the second rank has not come yet
        devices.exchange(trainer, Round(tasks), outcomes[0], names)
    found = devices.exchange(trainer, Round(tasks), outcomes[1], names)
    for got, expected in zip(found, outcomes, strict=True):
        assert_same(got, expected)
        assert got.seconds == expected.seconds


def test_searches_that_drift_apart_are_noticed() -> None:
    strategy = Ranks([{}, {}])
    trainer: Any = SimpleNamespace(strategy=strategy)
    devices.exchange(trainer, Round([Task("probe", "a", Epochs(1))]), Outcome({"recall@5": 0.5}), ("recall@5",))
    with pytest.raises(RuntimeError, match="the searches of the ranks differ"):
        devices.exchange(trainer, Round([Task("probe", "a", Epochs(2))]), Outcome({"recall@5": 0.5}), ("recall@5",))


@pytest.fixture
def gloo_ranks(tmp_path: Path) -> list[torch.distributed.ProcessGroup]:
    """Two ranks that talk through gloo and wait for each other for a short while."""

    def join(rank: int) -> torch.distributed.ProcessGroup:
        store = torch.distributed.FileStore(str(tmp_path / "ranks"), 2)
        return torch.distributed.ProcessGroupGloo(store, rank, 2, timedelta(seconds=0.5))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(join, range(2)))


def test_a_rank_that_does_not_answer_is_told_from_other_errors(
    gloo_ranks: list[torch.distributed.ProcessGroup],
) -> None:
    reasons = []
    for rank in (0, 0, 1):  # the other does not take part, then too late, when the first has hung up
        with pytest.raises(RuntimeError) as raised:
            gloo_ranks[rank].allreduce([torch.ones(1)]).wait()
        reasons.append(devices.failed_exchange(raised.value))
    assert [str(reason)[:24] for reason in reasons] == [
        "Timed out waiting 500ms ",
        "Application timeout caus",
        "Connection closed by pee",
    ]
    assert not any("/gloo/" in str(reason) for reason in reasons)
    said = torch.distributed.DistBackendError("NCCL error: remote process exited\nmore of it")
    assert devices.failed_exchange(said) == "NCCL error: remote process exited"
    assert devices.failed_exchange(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_a_rank_leaves_the_others_once(tmp_path: Path) -> None:
    devices.leave()  # there are none
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    devices.leave()
    assert not torch.distributed.is_initialized()
