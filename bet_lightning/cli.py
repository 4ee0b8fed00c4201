"""The command line: ``python -m bet_lightning {fit,validate,test,predict,export}``, and ``compare FILE``."""

import logging
import os
import signal
import sys
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich import get_console

from bet_lightning import __version__, backbones, data, methods, modules, objectives  # noqa: F401  (class names)
from bet_lightning.callbacks import ColumnsStrategy, PredictionWriter, SearchProgressBar
from bet_lightning.callbacks.devices import failed_exchange, leave
from bet_lightning.callbacks.run_files import LastCheckpoint, RunLogger, SaveRunConfig, move_aside
from bet_lightning.callbacks.table_search import TableSearch
from bet_lightning.callbacks.user_metrics import UserMetricsCollector
from bet_lightning.command_line import data_name, usage, with_new_budget, with_shipped_configs
from bet_lightning.deploy.checkpoint_io import FileCheckpointIO, check_checkpoint
from bet_lightning.deploy.exporting import best_checkpoint
from bet_lightning.errors import one_line
from bet_lightning.runs import dashboards
from bet_lightning.runs.folder import EXPORTS, read_record, write_record
from bet_lightning.runs.html_report import draw_run
from bet_lightning.runs.lock import lock_folder
from bet_lightning.runs.records import Stage
from bet_lightning.runs.report import print_results
from bet_lightning.runs.users import write_users
from bet_lightning.trainer import Trainer

log = logging.getLogger("bet_lightning")

_DEFAULTS = {  # what a call without a config trains, and with what
    "model": {"class_path": "RecommenderModule"},
    "data": {"class_path": "InteractionDataModule"},
    "search.method": {"class_path": "BET"},
}

_HARMLESS_WARNINGS = (
    ".*smaller than the logging interval.*",
    ".*LeafSpec.*",
    ".*infer the batch indices.*",
    ".*exists and is not empty.*",
    ".*args parameter is intended to run from within Python.*",
)


class _Lines(logging.Handler):
    """Prints messages beside the progress bar, unbroken: commands in them are to be copied."""

    def emit(self, record: logging.LogRecord) -> None:
        get_console().print(self.format(record), soft_wrap=True, markup=False, highlight=False)


class BETCLI(LightningCLI):
    """LightningCLI with a run folder, and commands that know the results of a run.

    Args:
        held: Takes the lock of the run folder.
        settings: Further arguments of ``LightningCLI``.
    """

    def __init__(self, held: ExitStack, **settings: Any) -> None:
        self._held = held
        self._users = UserMetricsCollector()
        super().__init__(**settings)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return Lightning's commands and ``export``."""
        return {**LightningCLI.subcommands(), "export": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the search and ``--predictions.path``, and what a call without a config does."""
        parser.add_class_arguments(TableSearch, "search")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.set_defaults(_DEFAULTS)

    def before_instantiate_classes(self) -> None:
        """Name the run folder after the config file, or after the data where there is none."""
        config = self.config[self.subcommand]
        if config.data is None:
            raise ValueError("--data null: a run needs data")
        if not config.trainer.default_root_dir:
            name = Path(str(config.config[0])).stem if config.config else data_name(config.data)
            config.trainer.default_root_dir = str(dashboards.sweep_folder() or Path("runs", name))
        if config.get("ckpt_path") is not None:
            last = Path(config.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
            path = last if config.ckpt_path == "last" else Path(config.ckpt_path)
            check_checkpoint(path, resumes=self.subcommand == "fit")
            config.ckpt_path = str(path)
        if self.subcommand == "export":
            config.trainer.default_root_dir = os.path.join(config.trainer.default_root_dir, EXPORTS)

    def _parse_ckpt_path(self) -> None:
        """Take no settings from a checkpoint: they are the configuration's."""

    def before_fit(self) -> None:
        """Move an older run of that name aside, once the data is known to be good."""
        config = self.config["fit"]
        if self.trainer.global_rank > 0:
            return
        self._held.enter_context(lock_folder(self._folder))
        if not config.ckpt_path:
            self.datamodule.prepare_data()
            self.datamodule.setup("fit")
            move_aside(self._folder)
        dashboards.join(self.trainer.loggers, self._folder)

    def before_export(self) -> None:
        """Move aside what an earlier export for other budgets left."""
        if self.config["export"].budget and self.trainer.global_rank == 0:
            self._held.enter_context(lock_folder(self._folder))
            move_aside(self._folder)
            dashboards.join(self.trainer.loggers, self._folder)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer; its numbers always go to CSV files too."""
        config = self._get(self.config_init, "trainer")
        loggers = config["logger"]
        if loggers is not False:
            given = [] if loggers in (None, True) else loggers if isinstance(loggers, list) else [loggers]
            dashboards.prefer_offline(given)
            self._held.callback(dashboards.finish, given)
            if not any(isinstance(logger, CSVLogger) for logger in given):
                given = [*given, RunLogger(config["default_root_dir"], name="logs")]
            kwargs["logger"] = given
        callbacks = config["callbacks"] or []
        callbacks = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        if any(isinstance(callback, TableSearch) for callback in callbacks):
            raise ValueError("trainer.callbacks: there can be one TableSearch, which the key search makes")
        if isinstance(self.model, modules.RecommenderModule):  # before others, which it may refuse
            callbacks = [self._get(self.config_init, "search"), *callbacks]
        if config["barebones"]:
            raise ValueError("trainer.barebones True leaves no room for logs, checkpoints and a search")
        if isinstance(config["strategy"], str) and config["strategy"].endswith("_spawn"):
            raise ValueError(f"trainer.strategy {config['strategy']} begins processes without a run's data: take ddp")
        if not config["fast_dev_run"] and config["enable_checkpointing"] is not False:
            callbacks.append(LastCheckpoint())
        if config["enable_progress_bar"] is not False:
            callbacks.append(SearchProgressBar())
        callbacks.append(self._users)
        kwargs["callbacks"] = callbacks
        if config["strategy"] == "columns":
            kwargs["strategy"] = ColumnsStrategy()
        plugins = config["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, FileCheckpointIO()]
        try:
            return super().instantiate_trainer(**kwargs)
        except TypeError as error:  # Lightning's answer to numbers of devices that it does not know
            raise ValueError(f"trainer.devices {config['devices']}: {error}") from None

    def validate(self, **kwargs: Any) -> None:
        """Evaluate every result of the run, or ``--ckpt_path`` alone, on validation data."""
        self._evaluate("valid", self.trainer.validate, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Evaluate every result of the run, or ``--ckpt_path`` alone, on test data."""
        self._evaluate("test", self.trainer.test, **kwargs)

    def predict(self, ckpt_path: str | None = None, **kwargs: Any) -> None:
        """Rank all items for every user with the run's best table, or with ``--ckpt_path``."""
        path = ckpt_path or str(best_checkpoint(self._folder))
        self.trainer.loggers = dashboards.others(self.trainer.loggers)  # a dashboard gains nothing from lists
        self.trainer.predict(ckpt_path=path, **kwargs | {"return_predictions": False})

    def _evaluate(self, stage: Stage, run: Any, ckpt_path: str | None = None, **kwargs: Any) -> None:
        option = "limit_test_batches" if stage == "test" else "limit_val_batches"
        if (limit := getattr(self.trainer, option)) != 1 or isinstance(limit, int):  # 1 is one batch, 1.0 all
            raise ValueError(f"trainer.{option} {limit}: metrics are those of all users")
        loggers = self.trainer.loggers
        self.trainer.loggers = dashboards.others(loggers)  # a dashboard is told of all results at once
        if ckpt_path is not None or not isinstance(self.model, modules.RecommenderModule):
            run(ckpt_path=ckpt_path, **kwargs)
            return
        record = read_record(self._folder)
        kwargs["verbose"] = False
        users = {}
        for result in record.results:
            found = run(ckpt_path=str(self._folder / result.checkpoint), **kwargs)[0]
            metrics = {name.partition("/")[2]: value for name, value in found.items()}
            tested = replace(result, valid=metrics) if stage == "valid" else replace(result, test=metrics)
            results = (tested if each.name == result.name else each for each in record.results)
            record = replace(record, results=tuple(results))
            if self._users.table is not None:
                users[result.name] = self._users.table
        if self.trainer.is_global_zero:
            if stage == "test":
                write_record(self._folder, record)
                dashboards.Dashboard.of_finished(loggers, self._folder).tested(record)
                draw_run(self._folder)
                if users:
                    write_users(self._folder, users)
            print_results(record, stage)

    @property
    def _folder(self) -> Path:
        return Path(self.trainer.default_root_dir)


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name (default: those of the process).

    Raises:
        SystemExit: With code 2 and one line on wrong input, with 1 and one line where another rank does not answer
            any more; ``--debug`` shows the traceback instead. With 143 where the process was told to end.
    """
    words = sys.argv[1:] if args is None else args
    debug = isinstance(words, list) and "--debug" in words
    if isinstance(words, list):
        words = with_shipped_configs(with_new_budget([word for word in words if word != "--debug"]))
    if not log.handlers:
        log.addHandler(_Lines())
        log.setLevel(logging.INFO if getattr(rank_zero_only, "rank", 0) == 0 else logging.WARNING)
        logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
        for message in _HARMLESS_WARNINGS:
            warnings.filterwarnings("ignore", message)
    held = ExitStack()
    try:
        if isinstance(words, list) and words[:1] == ["compare"]:
            from bet_lightning.compare.command import compare  # scipy takes a second to load

            if code := compare(words[1:], main):
                raise SystemExit(code)
            return
        BETCLI(
            held,
            model_class=None,
            trainer_class=Trainer,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_kwargs={
                "version": f"bet_lightning {__version__}",
                "description": "Fit a recommender's embedding table into a memory budget. Beside the commands below: "
                "`compare FILE` runs the missing cells of a table of experiments.",
                "exit_on_error": False,
                **{name: {"exit_on_error": False, "usage": usage(name)} for name in BETCLI.subcommands()},
            },
            trainer_defaults={
                "max_epochs": -1,
                "num_sanity_val_steps": 0,
                "use_distributed_sampler": False,
                "enable_model_summary": False,
            },
            args=words,
        )
        leave()
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # which Lightning ends in the code of a failure
            raise SystemExit(128 + signal.SIGINT) from None
        raise
    except (ValueError, OSError, ImportError, ArgumentError, MisconfigurationException) as error:
        if debug:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if debug or (reason := failed_exchange(error)) is None:
            raise
        rank = getattr(rank_zero_only, "rank", 0)
        print(f"error: rank {rank} does not reach the other ranks: {reason}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        held.close()
