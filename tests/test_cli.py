import errno
import inspect
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from bet_lightning.backbones import Backbone, Edges, LightGCN, NeuMF
from bet_lightning.budget import format_bytes
from bet_lightning.callbacks.recorder import Recorder
from bet_lightning.cli import main
from bet_lightning.compare.cells import Comparison
from bet_lightning.methods import BET
from bet_lightning.methods.base import Method
from bet_lightning.methods.rules import read_sizes
from bet_lightning.runs.folder import read_probes, read_record
from bet_lightning.serving import PackedRecommender
from tests.conftest import SPECTRAL, UNIFORM, write_config
from tests.interruption import Interrupted, interrupted_after

CONFIGS = Path(__file__).parent.parent / "configs"
CAP = 210 * 8 // 4


def comparable(folder: Path) -> list[Any]:
    """What two equal runs share: everything but seconds."""
    probes = [probe.as_dict() for probe in read_probes(folder / "actions.jsonl")]
    for timed in (*probes, *(found for probe in probes for found in probe.get("tuned", {}).values())):
        del timed["seconds"]
    return [probes, [(r.name, r.params, r.valid) for r in read_record(folder).results]]


def test_fit_leaves_a_run_folder(finished_run: Path) -> None:
    record = read_record(finished_run)
    assert [result.name for result in record.results] == ["full", "bet", "uniform"]
    assert [budget.params for budget in record.budgets] == [CAP]
    assert [result.params for result in record.results] == [1680, CAP, CAP]
    assert [result.bytes for result in record.results] == [
        1680 * 4,
        CAP * 4 + 210,
        CAP * 4,
    ]  # sizes that are all the same take no byte
    assert record.dataset["users"] == 120
    assert (record.seed, record.method, record.backbone) == (3, "BET", "LightGCN")
    assert record.search.probes == 5
    assert all(result.test == {} for result in record.results)  # fit never touches test data
    assert set(record.results[0].valid) == {f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10, 20)}
    plots = {"budgets.png", "sizes.png", "bytes.png", "fitness.png", "predictor.png", "training.png"}
    assert {path.name for path in (finished_run / "plots").iterdir()} == plots
    assert (finished_run / "report.html").is_file()
    assert (finished_run / "config.yaml").is_file()
    assert list((finished_run / "logs").rglob("metrics.csv"))
    assert json.loads((finished_run / "summary.json").read_text())["backbone"] == "LightGCN"


def test_actions_are_within_budget(finished_run: Path) -> None:
    probes = read_probes(finished_run / "actions.jsonl")
    assert [probe.iteration for probe in probes] == [0, 1, 2, 3, 4]
    assert [probe.strategy for probe in probes] == ["given", "greedy", "greedy", "greedy", "random"]
    sizes = torch.arange(1, 9)
    for probe in probes:
        action = probe.action
        assert int(((action.user_counts + action.item_counts) * sizes).sum()) == action.params == CAP
        assert int(action.user_counts.sum()) == 120
        assert probe.fitness > 0
    assert read_record(finished_run).search.best_fitness == max(probe.fitness for probe in probes)


def test_checkpoints_hold_tensors_and_plain_values(finished_run: Path) -> None:
    names = {path.stem for path in (finished_run / "checkpoints").glob("*.ckpt")}
    assert names == {"full", "bet", "uniform", "best", "last"}
    best = read_record(finished_run).best()
    assert best is not None
    for name in names:
        state = torch.load(finished_run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        sizes = state["state_dict"]["backbone.tables.0.sizes"]
        assert int(sizes.sum()) == (1680 if name == "full" else CAP)
        if name == "best":
            assert sizes.long().equal(read_sizes(str(finished_run / "sizes" / f"{best.name}.txt")))


def test_test_validate_predict(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    common = ["--config", str(finished_run / "config.yaml"), "--trainer.default_root_dir", str(folder)]
    valid = [result.valid for result in read_record(folder).results]
    main(["test", *common])
    results = read_record(folder).results
    assert all(set(result.test) == set(result.valid) for result in results)
    assert "uniform" in capsys.readouterr().out
    assert [result.valid for result in results] == valid
    main(["validate", *common])
    assert f"{valid[1]['ndcg@20']:.4f}" in capsys.readouterr().out  # a loaded checkpoint is the model that was saved
    main(["predict", *common, "--predictions.path", str(folder / "top.parquet")])
    top = pl.read_parquet(folder / "top.parquet")
    assert top.columns == ["user", "rank", "item", "score"]
    assert top["user"].n_unique() == 120
    assert top.group_by("user").len()["len"].max() == 20


def interrupt(config: Path, epochs: int) -> str:
    """Begin a run, break it off after some epochs, and return what it can be resumed from."""
    with interrupted_after(epochs), pytest.raises(Interrupted):
        main(["fit", "--config", str(config)])
    return str(config.with_suffix("") / "checkpoints" / "last.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 4, 8])  # within pretraining, the search and retraining
def test_runs_are_reproducible_and_resume_anywhere(epochs: int, finished_run: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, "cut", rules=[UNIFORM])
    main(["fit", "--config", str(config), "--ckpt_path", interrupt(config, epochs)])
    assert comparable(tmp_path / "cut") == comparable(finished_run)


@pytest.mark.slow
def test_dropout_resumes_too(tmp_path: Path) -> None:
    few: dict[str, Any] = {"search": {"num_iterations": 2}, "retrain": {"num_actions": 1}}
    main(["fit", "--config", str(write_config(tmp_path, "whole", "NGCF", **few))])
    for epochs in (1, 5):  # within pretraining and retraining
        config = write_config(tmp_path, f"cut{epochs}", "NGCF", **few)
        interrupt(config, epochs)
        main(["fit", "--config", str(config), "--ckpt_path", "last"])
        weights = [
            torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
            for name in ("whole", f"cut{epochs}")
        ]
        assert all(value.equal(weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_spectral_searches_resume_anywhere(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **{"family": SPECTRAL, "rules": [UNIFORM], "probe": {"epochs": 0}, "tune": {"num_actions": 2}},
        "retrain": {"num_actions": 1, "start": "both"},
    }
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])
    for epochs in (1, 2, 3, 5):  # in pretraining, before the first probe, between tuned ones, in retraining
        config = write_config(tmp_path, f"cut{epochs}", **settings)
        main(["fit", "--config", str(config), "--ckpt_path", interrupt(config, epochs)])
        assert comparable(tmp_path / f"cut{epochs}") == comparable(tmp_path / "whole")


@pytest.mark.slow
def test_packed_runs_resume_in_retraining_and_serve_other_budgets(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **{"family": SPECTRAL, "pretrain": {"max_epochs": 3}, "probe": {"epochs": 0}, "search": {"num_iterations": 2}},
        "retrain": {"num_actions": 1, "start": "both", "max_epochs": 3, "storage": "packed"},
    }
    whole = tmp_path / "whole"
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])

    def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
        state = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        return {key.removeprefix("backbone.tables.0."): value for key, value in state.items()}

    for epochs in (4, 6):  # within fresh retraining, and before the first epoch of warm retraining
        config, folder = write_config(tmp_path, f"cut{epochs}", **settings), tmp_path / f"cut{epochs}"
        last = interrupt(config, epochs)
        assert weights(folder, "last")["values"].shape == (CAP,)
        main(["validate", "--config", str(config), "--ckpt_path", last])
        main(["fit", "--config", str(config), "--ckpt_path", last])
        assert comparable(folder) == comparable(whole)
        for name in ("full", "bet_fresh", "bet_warm"):
            states = weights(folder, name), weights(whole, name)
            assert all(value.equal(states[1][key]) for key, value in states[0].items())
    weights_after = weights(whole, "best")
    main(["fit", "--config", str(tmp_path / "whole.yaml"), "--ckpt_path", str(whole / "checkpoints" / "last.ckpt")])
    assert weights(whole, "best")["weight"].equal(weights_after["weight"])  # finished: nothing is left to do
    main(["export", "--config", str(whole / "config.yaml"), "--budget.keep_ratio", "0.5", "--fine_tune", "1"])
    full, bet = read_record(whole / "exports").results
    assert (bet.params, bet.epochs, full.epochs) == (840, 1, 0)


@pytest.mark.slow
def test_sigterm_between_untrained_probes_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        **{"family": SPECTRAL, "probe": {"epochs": 0}},
        "retrain": {"num_actions": 1, "start": "warm"},
    }
    main(["fit", "--config", str(write_config(tmp_path, "whole", **settings))])
    config = write_config(tmp_path, "ended", **settings)
    take = Recorder.take

    def take_and_end(recorder: Recorder, records: Any, phase: Any) -> None:
        take(recorder, records, phase)
        if len(records) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "take", take_and_end)
        with pytest.raises(SystemExit, match="143"):
            main(["fit", "--config", str(config)])
    last = tmp_path / "ended" / "checkpoints" / "last.ckpt"
    assert f"--ckpt_path {last}" in capsys.readouterr().out
    (state,) = (s for name, s in torch.load(last, weights_only=True)["callbacks"].items() if "TableSearch" in name)
    assert len(state["method"]["records"]) == 2
    main(["fit", "--config", str(config), "--ckpt_path", str(last)])
    assert comparable(tmp_path / "ended") == comparable(tmp_path / "whole")


def test_a_lost_rank_is_one_line_and_other_failures_are_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("[/src/gloo/transport/tcp/pair.cc:9] Connection closed by peer [10.0.0.2]:2. Good luck!")

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(Recorder, "take", fail)
    command = ["fit", "--config", str(write_config(tmp_path, "run"))]
    with pytest.raises(SystemExit) as raised:
        main(command)
    assert raised.value.code == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        "error: rank 0 does not reach the other ranks: Connection closed by peer [10.0.0.2]:2"
    )
    assert f"--ckpt_path {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}" in said.out
    with pytest.raises(RuntimeError, match="Good luck"):
        main([*command, "--debug"])
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        main(command)


@pytest.mark.draws
def test_a_run_survives_a_disk_that_is_full_for_logs_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ExperimentWriter, "save", full)
    monkeypatch.setattr(Figure, "savefig", full)
    config = write_config(tmp_path, "run", search={"num_iterations": 1}, retrain={"num_actions": 1})
    main(["fit", "--config", str(config)])
    said = capsys.readouterr().out
    assert "metrics.csv: cannot be written ([Errno 28]" in said and "sizes.png: cannot be written" in said
    assert len(read_record(tmp_path / "run").results) == 2


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["MF", "NGCF", "NeuMF"])
def test_every_backbone_searches_its_spectrum(backbone: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"probe": {"epochs": 0}, "retrain": {"num_actions": 1, "start": "warm"}}
    config = write_config(tmp_path, "run", backbone, family=SPECTRAL, rules=[UNIFORM], **settings)
    main(["fit", "--config", str(config)])
    tables = 2 if backbone == "NeuMF" else 1
    params = {result.name: result.params for result in read_record(tmp_path / "run").results}
    assert params == {"full": 1680 * tables, "bet": CAP * tables, "uniform": CAP * tables}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["MF", "NGCF", "NeuMF"])
def test_every_backbone_goes_through_all_phases(backbone: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, "run", backbone, search={"num_iterations": 1}, retrain={"num_actions": 1})
    main(["fit", "--config", str(config)])
    record = read_record(tmp_path / "run")
    tables = 2 if backbone == "NeuMF" else 1
    assert record.d_max == 8 * tables
    assert [result.params for result in record.results] == [1680 * tables, CAP * tables]


def test_a_rule_instead_of_a_search(tmp_path: Path) -> None:
    train = {"train": {"max_epochs": 2}}
    rule = {"class_path": "PopularitySizes", "init_args": {"exponent": 0.5, "user_share": 0.6, **train}}
    main(["fit", "--config", str(write_config(tmp_path, "run", method=rule))])
    assert [result.name for result in read_record(tmp_path / "run").results] == ["popularity"]
    sizes = str(tmp_path / "run" / "sizes" / "popularity.txt")
    again = {"class_path": "FileSizes", "init_args": {"path": sizes, **train}}
    main(["fit", "--config", str(write_config(tmp_path, "again", method=again))])
    first, second = (read_record(tmp_path / name).results[0] for name in ("run", "again"))
    assert first.valid == second.valid  # same sizes, same seed


def test_the_best_is_the_rule_where_the_rule_is_better(finished_run: Path, tmp_path: Path) -> None:
    found = {"class_path": "FileSizes", "init_args": {"path": str(finished_run / "sizes" / "bet.txt"), "name": "found"}}
    chance = {"num_iterations": 1, "num_random": 1}  # against sizes that a search chose
    config = write_config(tmp_path, "run", rules=[found], search=chance, retrain={"num_actions": 1})
    main(["fit", "--config", str(config)])
    record, before = read_record(tmp_path / "run"), read_record(finished_run).result("bet")
    best, searched = record.best(), record.result("bet")
    assert best is not None and searched is not None and before is not None
    assert best.name == "found" and best.quality > searched.quality
    assert best.valid == before.valid  # same sizes, same seed
    linked = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert linked.samefile(tmp_path / "run" / best.checkpoint)


def test_an_older_run_is_moved_aside(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "run", search={"num_iterations": 0}))
    main(["fit", "--config", config])
    main(["fit", "--config", config])
    assert (tmp_path / "run.1" / "summary.json").is_file()
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_mistake_leaves_an_older_run_where_it_is(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "run", search={"num_iterations": 0}))
    main(["fit", "--config", config])
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, "--data.path=none.csv"])
    assert (tmp_path / "run" / "summary.json").is_file()
    assert not (tmp_path / "run.1").exists()


def test_fitness_predictor_from_actions(finished_run: Path, tmp_path: Path) -> None:
    arguments = [
        "--config",
        str(CONFIGS / "fitness_predictor.yaml"),
        f"--data.path={finished_run / 'actions.jsonl'}",
        "--trainer.max_epochs=3",
        f"--trainer.default_root_dir={tmp_path / 'predictor'}",
        "--trainer.enable_progress_bar=false",
    ]
    main(["fit", *arguments])
    last = tmp_path / "predictor" / "checkpoints" / "last.ckpt"
    torch.load(last, weights_only=True)
    main(["test", *arguments, "--ckpt_path", str(last)])


SHORT = [
    *("--data.name=synthetic", "--data.split=ratio", "--data.synthetic_users=60", "--data.synthetic_items=50"),
    *("--data.synthetic_interactions=700", "--model.backbone.max_size=16", "--trainer.enable_progress_bar=false"),
    *("--search.method.pretrain.max_epochs=1", "--search.method.retrain.max_epochs=1"),
    *("--search.method.search.num_iterations=1", "--search.method.search.num_candidates=5"),
    *("--search.method.probe.epochs=1", "--search.method.retrain.num_actions=1"),
]


@pytest.mark.parametrize(
    "names",
    [
        ["quickstart"],
        ["paper/settings"],
        ["paper/settings", "paper/ngcf"],
        ["paper/settings", "paper/neumf"],
    ],
    ids="-".join,
)
def test_shipped_configs_start(names: list[str], tmp_path: Path) -> None:
    configs = [f"--config={CONFIGS / f'{name}.yaml'}" for name in names]
    main(["fit", *configs, *SHORT, f"--trainer.default_root_dir={tmp_path / 'run'}"])
    assert {"full", "bet"} <= {result.name for result in read_record(tmp_path / "run").results}


def test_every_shipped_config_is_started() -> None:
    started = {"quickstart", "settings", "ngcf", "neumf", "fitness_predictor", "wandb", "sweep"}  # two in tests/runs
    shipped = {path.stem for path in CONFIGS.rglob("*.yaml") if path.parent.name != "results"}
    assert shipped == started


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((CONFIGS / "results").glob("*.yaml")), ids=lambda path: path.stem)
def test_cells_of_committed_results_are_configurations(path: Path, tmp_path: Path) -> None:
    cells = {cell.name: cell for cell in Comparison.read(path).cells if cell.seed == 0}
    for name, cell in cells.items():
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(dict(cell.settings)))
        with pytest.raises(SystemExit, match="0"):
            main(["fit", f"--config={config}", "--print_config"])


def test_help_begins_with_what_is_needed_most(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    begin = capsys.readouterr().out.splitlines()[:4]
    assert all(any(word in line for line in begin) for word in ("--data.path", "--search.budget", "--print_config"))
    assert "--search.method.help BET" in begin[2]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--search.method.help", "BET"])
    assert "search.num_iterations" in capsys.readouterr().out


def test_a_call_without_a_config_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = "".join(f"c{n % 60},sku{n * 7 % 41}\n" for n in range(1500))
    Path("sales.csv").write_text("user_id,item_id\n" + pairs)
    short = [argument for argument in SHORT if not argument.startswith("--data")]
    main(["fit", "--data.path", "sales.csv", "--search.budget.bytes", "2kB", *short])
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("beside the table"))
    record = read_record(tmp_path / "runs" / "sales")
    best = record.best()
    assert record.dataset["name"] == "sales" and best is not None and best.bytes <= 2_000
    config = ["--config", "runs/sales/config.yaml"]
    main(["predict", *config, "--predictions.path", "top.csv"])
    assert "wrote top.csv" in capsys.readouterr().out.splitlines()
    assert set(pl.read_csv("top.csv")["user"]) <= {f"c{n}" for n in range(60)}
    main(["export", *config, "--output", "table"])
    packed = json.loads(Path("table", "header.json").read_text())["bytes"]
    for part in ("ids", "graph", "seen"):  # said before anything was trained
        assert f"{part} {format_bytes(packed[part])}" in said
    assert PackedRecommender.load("table").recommend(["c1"], k=3).known.tolist() == [True]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("25%", ["0.25"]),
        ("420", ["420"]),
        ("1890B", ["1890B"]),
        ('["25%", {"sparsity": 0.5}, "500"]', ["0.5", "500", "0.25"]),
    ],
)
def test_budgets_have_short_forms(given: str, names: list[str], tmp_path: Path) -> None:
    method = {"class_path": "UniformSizes", "init_args": {"train": {"max_epochs": 1}}}
    config = write_config(tmp_path, "run", budget="10%", method=method)
    main(["fit", "--config", str(config), "--search.budget", given])
    record = read_record(tmp_path / "run")
    assert [budget.name for budget in record.budgets] == names
    suffixes = [f"@{name}" for name in names] if len(names) > 1 else [""]
    assert [result.name for result in record.results] == [f"uniform{suffix}" for suffix in suffixes]


def test_other_callbacks_stand_beside_the_search(tmp_path: Path) -> None:
    method = {"class_path": "UniformSizes", "init_args": {"train": {"max_epochs": 2}}}
    path = write_config(tmp_path, "run", method=method)
    config = yaml.safe_load(path.read_text())
    config["trainer"]["callbacks"] = [
        {"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "epoch"}},
        {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": {"monitor": "val/ndcg@20"}},
    ]
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    (logged,) = (tmp_path / "run" / "logs").rglob("metrics.csv")
    assert "lr-Adam" in logged.read_text().splitlines()[0]
    assert list((tmp_path / "run").rglob("epoch=*.ckpt"))


def defaults_of(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(("chosen", "base"), [(LightGCN, Backbone), (BET, Method)])
def test_no_default_of_the_class_in_place_is_taken_for_another_ones(chosen: type, base: type) -> None:
    given, others = defaults_of(chosen), [base]
    for other in others:
        others += other.__subclasses__()
        if other.__module__.startswith("bet_lightning"):
            own = defaults_of(other)
            assert {name: own[name] for name in own if name in given} == {n: given[n] for n in own if n in given}


def test_another_backbone_begins_as_it_does_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--model.backbone", "NeuMF", "--print_config"])
    arguments = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["backbone"]["init_args"]
    edges = Edges(torch.arange(3), torch.arange(3), 3, 3)
    assert NeuMF(edges, **arguments).init_std == NeuMF(edges).init_std == 0.01
