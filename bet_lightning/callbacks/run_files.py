"""What the command line puts into a run folder: configuration, logs and the checkpoint to resume from."""

import logging
import os
from inspect import signature
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger

from bet_lightning.trainer import Trainer

log = logging.getLogger(__name__)


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the run folder and hands the configuration to the loggers."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Save at the start of ``fit``; called on rank zero only."""
        if stage != "fit":
            return
        path = Path(trainer.default_root_dir) / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        config = self.config.clone()
        commands_own = {"ckpt_path", "weights_only", "return_predictions", *signature(Trainer.export).parameters}
        for name in commands_own - {"self", "model", "datamodule"}:
            config.pop(name, None)
        path.write_text(self.parser.dump(config, skip_none=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(
                {
                    name: self.config.as_dict().get(name)
                    for name in ("seed_everything", "model", "data", "search", "trainer")
                }
            )


class RunLogger(CSVLogger):
    """Writes ``metrics.csv``, and goes on without it where the disk is full: what counts is in other files."""

    def save(self) -> None:
        """Write what was logged since the last time."""
        try:
            super().save()
        except OSError as error:
            log.warning("%s: cannot be written (%s)", Path(self.log_dir) / "metrics.csv", error)


class LastCheckpoint(ModelCheckpoint):
    """Writes ``checkpoints/last.ckpt`` in the run folder after every epoch, to resume from."""

    def __init__(self) -> None:
        super().__init__(filename="last", save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Place the checkpoint in the run folder."""
        self.dirpath = os.path.join(trainer.default_root_dir, "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say how to go on after an interruption."""
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if trainer.is_global_zero and last.is_file() and not isinstance(exception, ValueError):
            config = last.parents[1] / "config.yaml"
            log.info("continue: python -m bet_lightning fit --config %s --ckpt_path %s", config, last)


def move_aside(folder: Path) -> None:
    """Rename an existing run folder to the first free ``name.N``: a new run never overwrites an old one."""
    if not (folder / "config.yaml").exists():
        return
    number = 1
    while (moved := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(moved)
    log.info("%s held an earlier run: moved to %s", folder, moved)
