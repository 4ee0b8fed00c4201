"""Wrong input of all kinds ends with code 2 and one line that names what is wrong; run with ``-s`` to read them all."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bet_lightning.cli import main
from bet_lightning.runs.folder import read_record
from tests.conftest import write_config

Wrong = list[tuple[list[str], tuple[str, ...]]]
DATA, MODEL, SEARCH, METHOD = "--data.", "--model.", "--search.", "--search.method."

# arguments after a config that is right, and what the line must say: the option or file, and the value
MORE_DATA: Wrong = [
    ([f"{DATA}train_path=a.csv", f"{DATA}path=b.csv"], ("data.path b.csv", "data.train_path a.csv")),
    ([f"{DATA}valid_path=b.csv"], ("data.valid_path b.csv", "data.train_path")),
    ([f"{DATA}user_column=u"], ("data.user_column 'u'", "data.path")),
    ([f"{DATA}item_column=i"], ("data.item_column 'i'", "data.path")),
    ([f"{DATA}rating_column=r"], ("data.rating_column 'r'", "data.path")),
    ([f"{DATA}time_column=t"], ("data.time_column 't'", "data.path")),
    ([f"{DATA}min_rating=3"], ("data.min_rating 3.0", "data.path")),
    ([f"{DATA}ratios=[0.8, 0.2]"], ("data.ratios", "[0.8, 0.2]")),
    ([f"{DATA}ratios=[0.5, 0.6, -0.1]"], ("data.ratios", "-0.1")),
    ([f"{DATA}ratios=[0, 0.5, 0.5]"], ("data.ratios", "0.0, 0.5, 0.5")),
    ([f"{DATA}split=official"], ("data.split official", "test part")),
    ([f"{DATA}split=given"], ("data.split given", "valid part")),
    ([f"{DATA}split=temporal"], ("data.split temporal", "times")),
    ([f"{DATA}synthetic_users=0"], ("data.synthetic_users", "0")),
    ([f"{DATA}synthetic_items=1"], ("data.synthetic_items", "1")),
    ([f"{DATA}synthetic_users=-5"], ("data.synthetic_users", "-5")),
    ([f"{DATA}synthetic_interactions=0"], ("data.synthetic_interactions", "0")),
    ([f"{DATA}synthetic_interactions=1"], ("data.split ratio", "nothing to validate on")),
    ([f"{DATA}batch_size=x"], ("data.batch_size", "x")),
    ([f"{DATA}train_on_valid=maybe"], ("data.train_on_valid", "maybe")),
    ([f"{DATA}valid_ratio=0"], ("data.valid_ratio", "0.0")),
    ([f"{DATA}name="], ("data.name ''", "gowalla")),
    ([f"{DATA}path=/dev/zero"], ("/dev/zero", "unknown suffix")),
    (["--data=Nothing"], ("data", "there is no class 'Nothing'")),
    (["--data=null"], ("--data null",)),
]
MORE_MODELS: Wrong = [
    (["--model=Nothing"], ("model", "there is no class 'Nothing'")),
    (["--model=null"], ("required", "model")),
    ([f"{MODEL}l2=x"], ("model.l2", "x")),
    ([f"{MODEL}l2=nan"], ("model.l2", "nan")),
    ([f"{MODEL}l2=inf"], ("model.l2", "inf")),
    ([f"{MODEL}ks=[]"], ("model.ks", "[]")),
    ([f"{MODEL}ks=[-1]"], ("model.ks", "-1")),
    ([f"{MODEL}ks=5"], ("model.ks", "5")),
    ([f"{MODEL}schedule.lr=-1"], ("lr=-1",)),
    ([f"{MODEL}schedule.lr=nan"], ("model.schedule.lr", "nan")),
    ([f"{MODEL}schedule.decay=0"], ("decay=0",)),
    ([f"{MODEL}schedule.decay=2"], ("decay=2",)),
    ([f"{MODEL}schedule.decay_epochs=0"], ("decay_epochs=0",)),
    ([f"{MODEL}schedule.min_lr=-1"], ("min_lr=-1",)),
    ([f"{MODEL}row_steps=true"], ("model.row_steps", "NeuMF")),
    ([f"{MODEL}state_dir=there"], ("model.state_dir", "there", "NeuMF")),
    ([f"{MODEL}backbone.max_size=-3"], ("max_size", "-3")),
    ([f"{MODEL}backbone.max_size=1000000"], ("max_size", "1000000")),
    ([f"{MODEL}backbone.init_std=-1"], ("init_std", "-1")),
    ([f"{MODEL}backbone.num_layers=x"], ("model.backbone.num_layers", "x")),
    ([f"{MODEL}backbone.keeps=all"], ("model.backbone.keeps", "all")),
    ([f"{MODEL}backbone=NGCF", f"{MODEL}backbone.message_dropout=1.5"], ("message_dropout", "1.5")),
    ([f"{MODEL}backbone=NGCF", f"{MODEL}backbone.negative_slope=-1"], ("negative_slope", "-1")),
    ([f"{MODEL}backbone=NGCF", f"{MODEL}backbone.num_layers=-1"], ("num_layers", "-1")),
    ([f"{MODEL}backbone=NeuMF", f"{MODEL}backbone.hidden=[]"], ("hidden", "[]")),
    ([f"{MODEL}objective=SampledSoftmax", f"{MODEL}objective.num_negatives=0"], ("num_negatives=0",)),
    ([f"{MODEL}objective=SampledSoftmax", f"{MODEL}objective.norm_power=2"], ("model.objective.norm_power", "2")),
    ([f"{MODEL}objective=SampledSoftmax", f"{MODEL}objective.popularity_power=-1"], ("popularity_power", "-1")),
    ([f"{MODEL}objective=SampledSoftmax", f"{MODEL}backbone=NeuMF"], ("model.objective", "NeuMF", "take BPR")),
]
MORE_METHODS: Wrong = [
    ([f"{METHOD}search.num_random=-1"], ("search.method.search.num_random", "-1")),
    ([f"{METHOD}search.num_updates=-1"], ("search.method.search.num_updates", "-1")),
    ([f"{METHOD}search.num_candidates=x"], ("search.method.search.num_candidates", "x")),
    ([f"{METHOD}probe.user_share=2"], ("search.method.probe.user_share", "2")),
    ([f"{METHOD}probe.refit_steps=-1"], ("search.method.probe.refit_steps", "-1")),
    ([f"{METHOD}tune.num_actions=-1"], ("search.method.tune.num_actions", "-1")),
    ([f"{METHOD}retrain.eval_every_n_epochs=0"], ("search.method.retrain.eval_every_n_epochs", "0")),
    ([f"{METHOD}retrain.start=cold"], ("search.method.retrain.start", "cold")),
    ([f"{METHOD}pretrain.patience=0"], ("search.method.pretrain.patience", "0")),
    ([f"{METHOD}pretrain.eval_every_n_epochs=0"], ("search.method.pretrain.eval_every_n_epochs", "0")),
    ([f"{METHOD}basis=turned"], ("search.method.basis", "turned")),
    ([f"{METHOD}warm_schedule.lr=0"], ("lr=0",)),
    ([f"{METHOD}family=SpectralFamily", f"{METHOD}family.nothing=1"], ("search.method.family", "nothing")),
    ([f"{METHOD}rules=[Nothing]"], ("search.method.rules", "Nothing")),
    ([f"{METHOD}rules=UniformSizes"], ("search.method.rules", "UniformSizes")),
    ([f"{METHOD}rules=[{{class_path: UniformSizes, init_args: {{name: bet}}}}]"], ("search.method.rules", "bet")),
    ([f"{SEARCH}seed=-1"], ("search.seed", "-1")),
    ([f"{SEARCH}seed=x"], ("search.seed", "x")),
    ([f"{SEARCH}nothing=1"], ("--search.nothing",)),
    (["--search=x"], ("search", '"x"')),
    ([f"{SEARCH}method=PopularitySizes", f"{METHOD}exponent=x"], ("search.method.exponent", "x")),
    ([f"{SEARCH}method=PopularitySizes", f"{METHOD}exponent=1e9"], ("search.method.exponent", "1000000000")),
    ([f"{SEARCH}method=PopularitySizes", f"{METHOD}user_share=0"], ("search.method.user_share", "0")),
    ([f"{SEARCH}method=RandomSizes", f"{METHOD}seed=-1"], ("search.method.seed", "-1")),
    ([f"{SEARCH}method=FileSizes"], ("search.method", "path")),
    ([f"{SEARCH}method=MagnitudePruning", f"{METHOD}nothing=1"], ("search.method", "nothing")),
    ([f"{SEARCH}method=OneBit", f"{METHOD}bits=2"], ("search.method", "bits")),
    ([f"{SEARCH}method=FullAtBits"], ("FullAtBits", "search.budget in bytes", "0.25")),
    ([f"{SEARCH}method=ProductQuantization"], ("ProductQuantization",)),  # faiss may be missing
    ([f"{SEARCH}method=PEP", f"{METHOD}init=x"], ("search.method", "init")),
]
MORE_BUDGETS: Wrong = [
    ([f"{SEARCH}budget.sparsity=1"], ("budget.sparsity", "1")),
    ([f"{SEARCH}budget.sparsity=0.99"], ("budget.sparsity", "0.99", "0.875")),
    ([f"{SEARCH}budget.bytes=10"], ("budget.bytes 10", "smallest feasible")),
    ([f"{SEARCH}budget.bytes=1TB"], ("budget.bytes", "1TB")),
    ([f"{SEARCH}budget.bytes=2GB"], ("budget.bytes 2GB", "6720")),
    ([f"{SEARCH}budget.bytes=-5"], ("budget.bytes", "-5")),
    ([f"{SEARCH}budget.params=0"], ("budget.params", "0")),
    ([f"{SEARCH}budget.params=1.5"], ("search.budget.params", "1.5")),
    ([f"{SEARCH}budget.keep_ratio=nan"], ("search.budget.keep_ratio", "nan")),
    ([f"{SEARCH}budget.keep_ratio=1", f"{SEARCH}budget.params=300"], ("exactly one of", "keep_ratio, params")),
    ([f"{SEARCH}budget.dtype=fp8"], ("search.budget.dtype", "fp8")),
    ([f"{SEARCH}budget.covers=all"], ("search.budget.covers", "all")),
    ([f"{SEARCH}budget.covers=history"], ("budget.covers history", "bytes")),
    ([f"{SEARCH}budget=[]"], ("search.budget", "[]")),
    ([f"{SEARCH}budget=1e3"], ("budget must look like", "1e3")),
    ([f"{SEARCH}budget=-5"], ("budget must look like", "-5")),
    ([f"{SEARCH}budget=0"], ("budget.params", "0")),
    ([f"{SEARCH}budget=1"], ("budget.params", "210")),
    ([f"{SEARCH}budget=true"], ("budget must look like", "true")),
    ([f"{SEARCH}budget=[25%, 0.25]"], ("search.budget", "differ")),
    ([f"{SEARCH}budget=2 XB"], ("budget.bytes", "2 XB")),
]
MORE_TRAINERS: Wrong = [
    (["--trainer.accelerator=tpu"], ("torch_xla",)),
    (["--trainer.strategy=nonsense"], ("strategy", "nonsense")),
    (["--trainer.strategy=ddp_spawn"], ("trainer.strategy ddp_spawn", "ddp")),
    (["--trainer.devices=x"], ("trainer.devices x",)),
    (["--trainer.devices=1.5"], ("trainer.devices 1.5",)),
    (["--trainer.num_nodes=0"], ("num_nodes", "0")),
    (["--trainer.precision=16-true"], ("trainer.precision 16-true", "mixed")),
    (["--trainer.precision=8"], ("trainer.precision", "8")),
    (["--trainer.max_epochs=0"], ("trainer.max_epochs 0",)),
    (["--trainer.min_epochs=1"], ("trainer.min_epochs 1",)),
    (["--trainer.max_steps=0"], ("trainer.max_steps 0",)),
    (["--trainer.max_time=x"], ("duration", "x")),
    (["--trainer.limit_train_batches=0"], ("trainer.limit_train_batches 0",)),
    (["--trainer.limit_train_batches=-1"], ("limit_train_batches", "-1")),
    (["--trainer.overfit_batches=1"], ("trainer.overfit_batches 1",)),
    (["--trainer.val_check_interval=0.5"], ("trainer.val_check_interval 0.5",)),
    (["--trainer.check_val_every_n_epoch=null"], ("trainer.check_val_every_n_epoch None",)),
    (["--trainer.accumulate_grad_batches=0"], ("trainer.accumulate_grad_batches 0",)),
    (["--trainer.gradient_clip_val=-1"], ("trainer.gradient_clip_val -1",)),
    (["--trainer.gradient_clip_algorithm=x"], ("gradient_clip_algorithm", "x")),
    (["--trainer.profiler=x"], ("profiler", "simple")),
    (["--trainer.plugins=x"], ("trainer.plugins", "x")),
    (["--trainer.reload_dataloaders_every_n_epochs=-1"], ("reload_dataloaders_every_n_epochs", "-1")),
    (["--trainer.callbacks+=ModelPruning", "--trainer.callbacks.pruning_fn=l1_unstructured"], ("ModelPruning",)),
    (["--trainer.callbacks=LearningRateFinder"], ("trainer.callbacks LearningRateFinder", "model.schedule.lr")),
    (["--trainer.callbacks=BatchSizeFinder"], ("trainer.callbacks BatchSizeFinder", "data.batch_size")),
    (["--trainer.callbacks=EMAWeightAveraging"], ("trainer.callbacks EMAWeightAveraging",)),
    (["--trainer.callbacks=Nothing"], ("trainer.callbacks", "Nothing")),
    (["--trainer.callbacks=RichProgressBar", "--trainer.enable_progress_bar=true"], ("progress bar",)),
    (["--trainer.default_root_dir=/dev/null"], ("trainer.default_root_dir /dev/null", "no folder")),
    (["--trainer.default_root_dir=/dev/null/run"], ("trainer.default_root_dir /dev/null/run",)),
    (["--trainer.default_root_dir=/proc/nothing/run"], ("trainer.default_root_dir /proc/nothing/run",)),
    (["--lr_scheduler=StepLR"], ("--lr_scheduler",)),
    (["--ckpt_path="], ("--ckpt_path",)),
    (["--seed_everything=x"], ("seed_everything",)),
    (["--config=none.yaml"], ("none.yaml",)),
]
OPTIONS: Wrong = [
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
    ([f"{SEARCH}budget.params=300", f"{SEARCH}budget.bytes=2kB"], ("exactly one of", "params", "bytes")),
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
    ([f"{SEARCH}method=OptEmbed", f"{METHOD}evolution.generations=0"], ("search.method.evolution.generations", "0")),
    ([f"{SEARCH}method=AutoEmb", f"{METHOD}candidates=[4, 2]"], ("search.method.candidates", "[4, 2]")),
    ([f"{SEARCH}method=ESAPN", f"{METHOD}policy_rate=0"], ("search.method.policy_rate", "0")),
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
    *MORE_DATA,
    *MORE_MODELS,
    *MORE_METHODS,
    *MORE_BUDGETS,
    *MORE_TRAINERS,
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
        ([f"{DATA}seed=8"], "of other data or another split"),
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


# what follows a finished run's config: ``{run}`` is its folder, ``{taken}`` a folder that holds something else
COMMANDS: Wrong = [
    (["test", f"{DATA}seed=5"], ("of other data or another split",)),
    (["predict", f"{DATA}seed=5"], ("of other data or another split",)),
    (["export", "--output={run}/t", f"{DATA}seed=5"], ("of other data or another split",)),
    (["validate", "--trainer.limit_val_batches=0"], ("trainer.limit_val_batches 0",)),
    (["validate", "--trainer.limit_val_batches=1"], ("trainer.limit_val_batches 1",)),
    (["test", "--trainer.limit_test_batches=0"], ("trainer.limit_test_batches 0",)),
    (["test", "--trainer.limit_test_batches=0.5"], ("trainer.limit_test_batches 0.5",)),
    (["test", f"{MODEL}ks=[91]"], ("model.ks", "91")),
    (["test", f"{MODEL}backbone=MF"], ("another backbone", "LightGCN, not MF")),
    (["test", "--trainer.default_root_dir={run}/none"], ("none", "no finished run")),
    (["test", "--trainer.default_root_dir={run}/config.yaml"], ("config.yaml", "no finished run")),
    (["predict", f"{MODEL}backbone=NeuMF"], ("another backbone", "LightGCN, not NeuMF")),
    (["predict", "--ckpt_path=none.ckpt"], ("--ckpt_path none.ckpt", "no such file")),
    (["predict", "--ckpt_path=/dev/zero"], ("--ckpt_path /dev/zero", "no such file")),
    (["predict", "--ckpt_path="], ("--ckpt_path", "packed table")),
    (["predict", "--ckpt_path={run}"], ("--ckpt_path {run}", "packed table")),
    (["predict", "--predictions.path=top.txt"], ("predictions.path", "top.txt")),
    (["predict", "--predictions.path="], ("predictions.path",)),
    (["predict", "--predictions.path={taken}"], ("predictions.path", "{taken}")),
    (["predict", "--predictions.path={taken}/folder.csv"], ("predictions.path {taken}/folder.csv", "not to be lost")),
    (["predict", "--predictions.path={taken}/sales.csv"], ("predictions.path {taken}/sales.csv", "not to be lost")),
    (["predict", "--predictions.path=/dev/null/top.csv"], ("predictions.path /dev/null/top.csv",)),
    (["export"], ("--output", "--budget")),
    (["export", "--output="], ("--output", "--budget")),
    (["export", "--output=/"], ("--output /:", "not to be lost")),
    (["export", "--output=/dev/null"], ("--output /dev/null:", "not to be lost")),
    (["export", "--output=/dev/null/table"], ("--output /dev/null/table:", "cannot be written")),
    (["export", "--output={run}"], ("--output {run}:", "not to be lost")),
    (["export", "--output={taken}/sales.csv"], ("--output {taken}/sales.csv:", "not to be lost")),
    (["export", "--output={taken}/sales.csv", '--budget=["20%", "30%"]'], ("--output {taken}/sales.csv: no folder",)),
    (["export", "--output={run}/t", "--dtype=int9"], ("dtype", "int9")),
    (["export", "--output={run}/t", "--history=maybe"], ("history", "maybe")),
    (["export", "--output={run}/t", f"{MODEL}backbone=MF"], ("another backbone", "LightGCN, not MF")),
    (["export", "--budget=x"], ("budget must look like", "x")),
    (["export", "--budget=[]"], ("budget", "[]")),
    (["export", "--budget=25%", "--num_probes=0"], ("num_probes", "0")),
    (["export", "--budget=2%"], ("budget.keep_ratio 0.02", "0.125")),
    (["fit", "--ckpt_path={run}/checkpoints/full.ckpt"], ("--ckpt_path", "weights only")),
]


@pytest.fixture(scope="module")
def own_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the finished run, and a folder of a user's own files."""
    folder = tmp_path_factory.mktemp("wrong")
    run, taken = folder / "run", folder / "taken"
    shutil.copytree(finished_run, run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(finished_run), str(run)))
    (taken / "folder.csv").mkdir(parents=True)
    (taken / "sales.csv").write_text("user,item\n1,2\n")
    return run, taken


@pytest.mark.parametrize(("arguments", "parts"), COMMANDS, ids=lambda value: str(value)[:50])
def test_commands_on_a_finished_run(
    arguments: list[str], parts: tuple[str, ...], own_run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, taken = own_run
    before = files_of(run.parent)

    def name(text: str) -> str:
        return text.replace("{run}", str(run)).replace("{taken}", str(taken))

    line = the_line(capsys, [arguments[0], "--config", str(run / "config.yaml"), *map(name, arguments[1:])])
    assert all(name(part) in line for part in parts), line
    if "--budget=2%" not in arguments:  # known only once the data is read, when an older export has been moved aside
        assert files_of(run.parent) == before


def files_of(folder: Path) -> dict[str, bytes]:
    """Files with their content; locks and logs apart."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != "." and "logs" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_there_are_two_hundred() -> None:
    assert len(OPTIONS) + len(COMMANDS) >= 200


def test_a_budget_on_the_command_line_replaces_one_in_another_form(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, "run", method={"class_path": "UniformSizes", "init_args": {"train": {"max_epochs": 0}}}
    )
    for given, amount in [
        (['--search.budget={"bytes": 1000}'], ("bytes", 1000)),
        (["--search.budget.bytes=1kB", "--search.budget.dtype=int8"], ("bytes", 1000)),
        (["--search.budget.dtype=int8", "--search.budget.bytes=1kB"], ("bytes", 1000)),
        (["--search.budget", "0.5"], ("params", 2 * 1890 - 210)),
        (["--search.budget=[420]"], ("params", 1890)),
    ]:
        main(["fit", "--config", str(config), *given])
        (budget,) = read_record(tmp_path / "run").budgets
        assert (budget.unit, budget.bytes) == amount
        assert (budget.dtype == "int8") == any("int8" in word for word in given)
