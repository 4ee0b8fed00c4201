"""Lightning's Trainer with one more command."""

import os
from pathlib import Path

import pytorch_lightning as pl

from bet_lightning.budget import BudgetLike
from bet_lightning.callbacks import TableSearch
from bet_lightning.data import InteractionDataModule
from bet_lightning.deploy.exporting import best_checkpoint, pack_checkpoint
from bet_lightning.deploy.packing import check_output
from bet_lightning.dtypes import Dtype
from bet_lightning.methods.tasks import FULL
from bet_lightning.modules import RecommenderModule
from bet_lightning.runs.dashboards import Dashboard
from bet_lightning.runs.folder import read_record


class Trainer(pl.Trainer):
    """Lightning's Trainer that can also pack a finished run's tables, and cut them for further budgets."""

    def export(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule,
        ckpt_path: str | None = None,
        output: str | None = None,
        dtype: Dtype | None = None,
        history: bool = True,
        budget: list[BudgetLike] | BudgetLike | None = None,
        fine_tune: int = 0,
        num_probes: int = 8,
    ) -> None:
        """Pack a finished run's table into a folder to serve from, or cut its full table to other budgets, or both.

        Nothing is pre-trained or searched from the start again. For other budgets the run's search goes on for a few
        probes each, the best sizes are cut out of the pre-trained table, and results, checkpoints and sizes are
        written like those of a run.

        Args:
            model: The run's module.
            datamodule: Its data.
            ckpt_path: The checkpoint to pack (default: the run's best).
            output: Folder of the packed table; of several budgets, of a folder each.
            dtype: What its values are stored as (default: what its budget counts).
            history: Whether to store what users have seen, so that it can be left out of their lists.
            budget: A memory budget or several.
            fine_tune: Epochs at most that the cut tables are trained for.
            num_probes: Probes a budget.

        Raises:
            ValueError: If there is nothing to do, no finished run or no search in its configuration, or an argument
                is out of range.
        """
        if not isinstance(model, RecommenderModule) or not isinstance(datamodule, InteractionDataModule):
            raise ValueError("export needs the configuration of a run of RecommenderModule on InteractionDataModule")
        if budget is None and not output:
            raise ValueError("export needs --output, a folder for a packed table, or --budget, as --budget.params 5000")
        if budget is not None and ckpt_path:
            raise ValueError(f"--ckpt_path {ckpt_path} and --budget exclude each other")
        exports = Path(self.default_root_dir)
        several = isinstance(budget, list) and len(budget) > 1
        if output and several and os.path.lexists(output) and not Path(output).is_dir():
            raise ValueError(f"--output {output}: no folder, which tables of several budgets need")
        if output and not several:
            check_output(Path(output))
        if budget is not None:
            self._cut(model, datamodule, budget, fine_tune, num_probes)
            results = [result for result in read_record(exports).results if result.name != FULL]
            packed = {result.name: exports / result.checkpoint for result in results}
        else:
            packed = {"": Path(ckpt_path) if ckpt_path else best_checkpoint(exports.parent)}
        if not output or not self.is_global_zero:
            return
        datamodule.prepare_data()
        datamodule.setup("fit")
        if model.backbone is None:
            model.build(datamodule.dataset.train)
        tables = []
        for name, checkpoint in packed.items():
            folder = Path(output) / name if several else Path(output)
            pack_checkpoint(model, datamodule.dataset, checkpoint, folder, dtype, history)
            tables.append(folder)
        Dashboard.of_finished(self.loggers, exports.parent if budget is None else exports).packed(tables)

    def _cut(
        self,
        model: RecommenderModule,
        datamodule: InteractionDataModule,
        budget: list[BudgetLike] | BudgetLike,
        fine_tune: int,
        num_probes: int,
    ) -> None:
        """Let the run's search go on for other budgets."""
        if fine_tune < 0 or num_probes < 1:
            raise ValueError(f"export needs fine_tune >= 0 and num_probes >= 1, got {fine_tune} and {num_probes}")
        callbacks: list[pl.Callback] = self.callbacks  # type: ignore[attr-defined]
        search = next((callback for callback in callbacks if isinstance(callback, TableSearch)), None)
        if search is None:
            raise ValueError("export needs the configuration of a run with a search")
        last = Path(self.default_root_dir).parent / "checkpoints" / "last.ckpt"
        if not last.is_file():
            raise ValueError(f"{last}: no such file; export needs a finished run: name its config.yaml")
        method = search.method.for_finished_run(str(last), num_probes, fine_tune)
        callbacks[callbacks.index(search)] = TableSearch(budget, method, search.seed)
        self.fit(model, datamodule=datamodule)
