"""Wrong input of all kinds ends with code 2 and one line that names what is wrong; run with ``-s`` to read them all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.cli import main
from tests.conftest import write_config

DATA, MODEL, SEARCH, METHOD = "--data.", "--model.", "--search.", "--search.method."

# arguments after a config that is right, and what the line must say: the option or file, and the value
OPTIONS: list[tuple[list[str], tuple[str, ...]]] = [
    ([f"{DATA}name=gowala"], ("data.name", "gowala", "gowalla")),
    ([f"{DATA}name=lastfm", f"{DATA}data_dir=nowhere"], ("nowhere",)),
    ([f"{DATA}path=none.csv"], ("none.csv",)),
    ([f"{DATA}path=a.csv", f"{DATA}test_path=b.csv"], ("data.path a.csv", "data.test_path b.csv")),
    ([f"{DATA}test_path=b.csv"], ("data.test_path b.csv", "data.train_path")),
    ([f"{DATA}split=random"], ("data.split", "random")),
    ([f"{DATA}ratios=[1, 1, 1]"], ("data.ratios", "1.0")),
    ([f"{DATA}valid_ratio=1.2"], ("data.valid_ratio", "1.2")),
    ([f"{DATA}valid_choice=first"], ("valid_choice", "first")),
    ([f"{DATA}batch_size=0"], ("data.batch_size", "0")),
    ([f"{DATA}eval_batch_size=-1"], ("data.eval_batch_size", "-1")),
    ([f"{DATA}seed=-1"], ("data.seed", "-1")),
    ([f"{DATA}synthetic_interactions=999999"], ("data.synthetic_interactions", "999999")),
    ([f"{DATA}nme=gowalla"], ("data", "nme")),
    ([f"{MODEL}l2=-1"], ("model.l2", "-1")),
    ([f"{MODEL}ks=[500]"], ("model.ks", "500")),
    ([f"{MODEL}ks=[0]"], ("model.ks", "0")),
    ([f"{MODEL}schedule.lr=0"], ("lr=0",)),
    ([f"{MODEL}schedule.lr=1e38"], ("pretrain diverged", "nan", "model.schedule.lr")),
    ([f"{MODEL}backbone.max_sze=8"], ("model.backbone", "max_sze")),
    ([f"{MODEL}backbone.max_size=0"], ("max_size", "0")),
    ([f"{MODEL}backbone.num_layers=-1"], ("num_layers", "-1")),
    ([f"{MODEL}backbone=LightGCM"], ("model.backbone", "LightGCM", "LightGCN")),
    ([f"{MODEL}objective=SampledSoftmax", f"{MODEL}objective.temperature=0"], ("model.objective", "temperature=0")),
    ([f"{MODEL}objective=SampledSoftmx"], ("model.objective", "SampledSoftmx", "SampledSoftmax")),
    ([f"{METHOD}search.num_iterations=-1"], ("search.method.search.num_iterations", "-1")),
    ([f"{METHOD}search.num_candidates=0"], ("search.method.search.num_candidates", "0")),
    ([f"{METHOD}search.selection=best"], ("selection", "best")),
    ([f"{METHOD}probe.epochs=-1"], ("search.method.probe.epochs", "-1")),
    ([f"{METHOD}probe.user_share=0"], ("search.method.probe.user_share", "0")),
    ([f"{METHOD}tune.epochs=0"], ("search.method.tune.epochs", "0")),
    ([f"{METHOD}retrain.num_actions=0"], ("search.method.retrain.num_actions", "0")),
    ([f"{METHOD}retrain.patience=0"], ("search.method.retrain.patience", "0")),
    ([f"{METHOD}retrain.parallel=rows"], ("parallel", "rows")),
    ([f"{METHOD}retrain.storage=sparse"], ("storage", "sparse")),
    ([f"{METHOD}retrain.max_epochs=0"], ("search.method.retrain.max_epochs 0", "warm", "fresh")),
    ([f"{METHOD}pretrain.max_epochs=-2"], ("search.method.pretrain.max_epochs", "-2")),
    ([f"{METHOD}pretrain.checkpoint=none.ckpt"], ("none.ckpt",)),
    ([f"{METHOD}family=SpectrlFamily"], ("search.method.family", "SpectrlFamily", "SpectralFamily")),
    ([f"{METHOD}min_size=2"], ("search.method.min_size", "2")),
    ([f"{METHOD}rules=[UniformSizes, UniformSizes]"], ("search.method.rules", "uniform")),
    ([f"{METHOD}rule=UniformSizes"], ("rule",)),
    ([f"{SEARCH}budget.keep_ratio=0.01"], ("budget.keep_ratio", "0.01", "0.125")),
    ([f"{SEARCH}budget.keep_ratio=2"], ("budget.keep_ratio", "2")),
    ([f"{SEARCH}budget.params=300"], ("exactly one of", "keep_ratio", "params")),
    ([f"{SEARCH}budget=209"], ("budget.params", "209", "210")),
    ([f"{SEARCH}budget=99999"], ("budget.params", "99999", "1680")),
    ([f"{SEARCH}budget=12 apples"], ("budget", "12 apples")),
    ([f"{SEARCH}budget=lots"], ("budget must look like", "lots")),
    ([f"{SEARCH}budget=[10%, 12.5%, 210]"], ("budget",)),
    ([f'{SEARCH}budget={{"keep_ratio": null, "sparsity": 1.5}}'], ("budget.sparsity", "1.5")),
    ([f"{SEARCH}method=FileSizes", f"{METHOD}path=none.txt"], ("none.txt",)),
    ([f"{SEARCH}method=UniformSizes", f"{METHOD}user_share=1.5"], ("user_share", "1.5")),
    ([f"{SEARCH}method=UniformSizes", f"{METHOD}train.max_epochs=-1"], ("max_epochs", "-1")),
    ([f"{SEARCH}method=UniformSize"], ("search.method", "'UniformSize'", "'UniformSizes'")),
    ([f"{SEARCH}method=Nonsense"], ("search.method", "'Nonsense'")),
    ([f"{SEARCH}method=PEP", f"{METHOD}granularity=cell"], ("granularity", "cell")),
    ([f"{SEARCH}method=CERP", f"{METHOD}density=0"], ("search.method.density", "0")),
    ([f"{SEARCH}method=CIESS", f"{METHOD}agent.reach=0"], ("search.method.agent.reach", "0")),
    ([f"{SEARCH}method=CIESS", f"{METHOD}num_actions=0"], ("search.method.num_actions", "0")),
    ([f"{SEARCH}method=QuotientRemainder", f"{SEARCH}budget.keep_ratio=0.13"], ("smallest feasible", "0.13")),
    (["--trainer.max_epochs=2"], ("trainer.max_epochs 2", "search.method.pretrain")),
    (["--trainer.max_steps=5"], ("trainer.max_steps 5",)),
    (["--trainer.max_time=00:00:01:00"], ("trainer.callbacks Timer",)),
    (["--trainer.fast_dev_run=true"], ("trainer.fast_dev_run",)),
    (["--trainer.limit_val_batches=0"], ("trainer.limit_val_batches 0",)),
    (["--trainer.limit_val_batches=0.5"], ("trainer.limit_val_batches 0.5",)),
    (["--trainer.check_val_every_n_epoch=2"], ("trainer.check_val_every_n_epoch 2", "eval_every_n_epochs")),
    (["--trainer.precision=bf16-true"], ("trainer.precision bf16-true",)),
    (["--trainer.barebones=true"], ("trainer.barebones",)),
    (["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/ndcg@20"], ("EarlyStopping", "patience")),
    (["--optimizer=Adam"], ("--optimizer",)),
    (["--trainer.max_epochs=many"], ("max_epochs", "many")),
    (["--trainer.devices=0"], ("devices",)),
    (["--trainer.devices=-3"], ("devices", "-3")),
    (["--trainer.accelerator=tpuu"], ("accelerator", "tpuu")),
    (["--trainr.devices=1"], ("trainr.devices",)),
    (["--ckpt_path=none.ckpt"], ("--ckpt_path none.ckpt",)),
    (["--ckpt_path=last"], ("--ckpt_path", "last.ckpt", "no such file")),
]


def the_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Run a command that must end with code 2, and return the one line that it says."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("Seed set")]
    assert "Traceback" not in "".join(said)
    assert said[-1].startswith("error: ")
    print(f"{' '.join(arguments[3:])}\n    {said[-1]}")
    return said[-1]


@pytest.mark.parametrize(("arguments", "parts"), OPTIONS, ids=lambda value: str(value)[:50])
def test_options(
    arguments: list[str], parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = the_line(capsys, ["fit", "--config", str(write_config(tmp_path, "run")), *arguments])
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.csv", "", "empty.csv"),
        ("header.csv", "user,item\n", "header.csv"),
        ("columns.csv", "a,b\n1,2\n", "columns.csv"),
        ("one.csv", "user,item\n1,2\n", "one"),
        ("binary.csv", "\x00\x01\x02\n\x03", "binary.csv"),
        ("list.txt", "0 1 2\n1 a\n", "list.txt"),
        ("table.xyz", "user,item\n1,2\n", "table.xyz"),
        ("table.parquet", "PAR1", "table.parquet"),
    ],
)
def test_data_files(name: str, content: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    config = write_config(tmp_path, "run")
    assert part in the_line(capsys, ["fit", "--config", str(config), f"{DATA}path={tmp_path / name}"])


def save_foreign(path: Path, run: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)


def save_truncated(path: Path, run: Path) -> None:
    whole = (run / "checkpoints" / "last.ckpt").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def save_weights_only(path: Path, run: Path) -> None:
    path.write_bytes((run / "checkpoints" / "full.ckpt").read_bytes())


def save_older(path: Path, run: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for state in checkpoint["callbacks"].values():
        state.pop("format", None)
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("save", "part"),
    [
        (save_foreign, "not a checkpoint of this package"),
        (save_truncated, "broken, or not a checkpoint"),
        (save_weights_only, "holds a result's weights only"),
        (save_older, "another version of bet_lightning"),
        (lambda path, run: path.write_text("hello"), "broken, or not a checkpoint"),
        (lambda path, run: path.write_bytes(b""), "broken, or not a checkpoint"),
        (lambda path, run: path.mkdir(), "a folder without a packed table"),
    ],
)
def test_checkpoints(
    save: Callable[[Path, Path], Any],
    part: str,
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save(tmp_path / "wrong.ckpt", finished_run)
    config = write_config(tmp_path, "run")
    line = the_line(capsys, ["fit", "--config", str(config), f"--ckpt_path={tmp_path / 'wrong.ckpt'}"])
    assert part in line and "--ckpt_path" in line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([f"{MODEL}backbone=MF"], "the checkpoint is of another backbone or other data"),
        ([f"{MODEL}backbone.max_size=4"], "the checkpoint is of another backbone or other data"),
        ([f"{DATA}seed=8"], "a run on other data or another split"),
        ([f"{SEARCH}budget.keep_ratio=0.5"], "a run with budgets of [420] parameters, not [840]"),
        ([f"{SEARCH}method=UniformSizes"], "a run of the method BET, not UniformSizes"),
    ],
)
def test_checkpoints_of_another_run(
    arguments: list[str], part: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = finished_run / "checkpoints" / "last.ckpt"
    config = write_config(tmp_path, "run")
    assert part in the_line(capsys, ["fit", "--config", str(config), f"--ckpt_path={last}", *arguments])


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ("1\n2\n", "2 sizes for 210 rows"),
        ("1\n" * 209 + "x\n", "expected one integer a line"),
        ("9\n" * 210, "size 9 is not in 1..8"),
        ("3\n" * 210, "the sizes sum to 630, over the budget of 420"),
        ("", "empty"),
    ],
)
def test_files_of_sizes(sizes: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text(sizes)
    config = write_config(tmp_path, "run", method={"class_path": "FileSizes", "init_args": {"path": str(path)}})
    line = the_line(capsys, ["fit", "--config", str(config)])
    assert part in line and "sizes.txt" in line
