"""Lightning's Trainer with one more command."""

from pathlib import Path

import pytorch_lightning as pl

from bet_lightning.budget import Budget
from bet_lightning.callbacks import TableSearch

EXPORTS = "exports"  # folder of a run for what is made from it


class Trainer(pl.Trainer):
    """Lightning's Trainer that can also serve further budgets from a finished run."""

    def export(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule,
        budget: Budget | list[Budget] | None = None,
        fine_tune: int = 0,
        num_probes: int = 8,
    ) -> None:
        """Cut a finished run's full table to other budgets: nothing is pre-trained or searched from the start again.

        The run's search goes on for a few probes a budget, the best sizes are cut out of the pre-trained table, and
        results, checkpoints and sizes are written like those of a run.

        Args:
            model: The run's module.
            datamodule: Its data.
            budget: A memory budget or several.
            fine_tune: Epochs at most that the cut tables are trained for.
            num_probes: Probes a budget.

        Raises:
            ValueError: If there is no budget, no finished run or no search in its configuration, or a number is out
                of range.
        """
        budgets = [budget] if isinstance(budget, Budget) else budget
        if not budgets:
            raise ValueError('export needs a budget, as --budget.keep_ratio 0.05 or --budget \'[{"bytes": "2MB"}]\'')
        if fine_tune < 0 or num_probes < 1:
            raise ValueError(f"export needs fine_tune >= 0 and num_probes >= 1, got {fine_tune} and {num_probes}")
        callbacks: list[pl.Callback] = self.callbacks  # type: ignore[attr-defined]
        searches = [callback for callback in callbacks if isinstance(callback, TableSearch)]
        if not searches:
            raise ValueError("export needs the configuration of a run with TableSearch among its callbacks")
        last = Path(self.default_root_dir).parent / "checkpoints" / "last.ckpt"
        if not last.is_file():
            raise ValueError(f"{last}: no such file; export needs a finished run: name its config.yaml")
        searches[0].serve(budgets, str(last), num_probes=num_probes, num_epochs=fine_tune)
        self.fit(model, datamodule=datamodule)
