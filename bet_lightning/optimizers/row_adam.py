"""Adam whose steps touch no more rows than a batch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bet_lightning.backbones import Backbone
from bet_lightning.optimizers.mapping import mapped_zeros
from bet_lightning.optimizers.row_kernels import kernels
from bet_lightning.optimizers.row_steps import RowSteps
from bet_lightning.tables.prefix_table import PrefixTable

_MEANS = ("exp_avg", "exp_avg_sq")  # of gradients and of their squares, as torch's Adam calls them
_PAYS_ABOVE = 4  # rows of a table for each that a batch looks up


def can_step_by_rows(network: Backbone) -> bool:
    """Whether :class:`RowAdam` can train a backbone: one that only looks rows up, in float32 tables on the CPU."""
    if not network.looks_rows_up or not network.has_prefix_tables or kernels() is None:
        return False
    values = network.prefix_table().parameter
    return values.device.type == "cpu" and values.dtype == torch.float32


def pays_by_rows(network: Backbone, batch_size: int) -> bool:
    """Whether steps by rows can be taken, and are faster than over whole tables for so many triplets at a time."""
    return can_step_by_rows(network) and network.num_rows > _PAYS_ABOVE * 3 * batch_size


def release_rows(network: Backbone) -> None:
    """Let no optimiser put off updates of a backbone's rows any longer: its tables have ordinary gradients again."""
    for table in network.tables:
        if isinstance(table, PrefixTable):
            table.bring_up_to_date()
            table.row_updates = None


class RowAdam(torch.optim.Adam):
    r"""Adam (Kingma and Ba 2015) that leaves rows without a gradient alone until they are met again.

    It computes what Adam over the whole table does, to rounding. A row without a gradient still moves, by what is left
    of its means: after step s by

    .. math::
        -\eta_t \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
        \Bigl(\frac{\beta_1}{\sqrt{\beta_2}}\Bigr)^{t - s} \frac{m_s}{\sqrt{v_s} + \epsilon}

    in a step t. The sum of the factors over the steps that it missed is all that it needs to know of them, and is the
    same for all rows last seen at step s. Rows are brought up to date before they are read: a batch's when it looks
    them up, all of them when the whole table is read or saved. Its state is therefore Adam's, and either goes on from
    the other's checkpoint. Beside the means, which are as large as the table, it holds an integer a row; there is no
    gradient of the whole table.

    Other parameters than the tables' are trained by Adam as ever.

    Args:
        network: The backbone, with prefix tables on the CPU; see :func:`can_step_by_rows`.
        lr: Learning rate.
        betas: Decay of the means of gradients and of their squares.
        eps: Added to the root of the latter.
        state_dir: Folder of files that the means are mapped from, in place of memory; only rows that are met are read.

    Raises:
        ValueError: If the backbone cannot be trained so, or there is no room in the folder.
    """

    def __init__(
        self,
        network: Backbone,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        state_dir: Path | None = None,
    ) -> None:
        if not can_step_by_rows(network):
            raise ValueError("steps by rows need a backbone that only looks rows up, the CPU, and numba")
        super().__init__(network.parameters(), lr=lr, betas=betas, eps=eps, fused=True)
        tables = [network.prefix_table(index) for index in range(len(network.tables))]
        self._tables = {id(table): RowSteps(table, betas) for table in tables}
        for steps in self._tables.values():
            steps.table.row_updates = self
            values = steps.table.parameter
            means = [mapped_zeros(values, state_dir) if state_dir else torch.zeros_like(values) for _ in _MEANS]
            self.state[values] = {"step": torch.zeros(()), **dict(zip(_MEANS, means, strict=True))}
        self._is_mapped = state_dir is not None

    def read(self, table: PrefixTable, rows: Tensor, width: int) -> Tensor:
        """Return rows as they should be by now: see :class:`RowUpdates`."""
        return self._tables[id(table)].read(self.state[table.parameter], rows, width)

    def bring_up_to_date(self, table: PrefixTable) -> None:
        """Do all that was put off: the table's values and what is kept of them are then Adam's."""
        self._tables[id(table)].catch_up(self.state[table.parameter])

    def take_gradient(self, table: PrefixTable, rows: Tensor, gradient: Tensor) -> None:
        """Take a gradient of rows, until the next step: see :class:`RowUpdates`."""
        self._tables[id(table)].gradients.append((rows, gradient))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        super().zero_grad(set_to_none)
        for steps in self._tables.values():
            steps.gradients.clear()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the rows that gradients were taken of, and all other parameters.

        Raises:
            RuntimeError: If a table has a gradient of all of its rows.
        """
        loss = super().step(closure)
        for steps in self._tables.values():
            if steps.table.parameter.grad is not None:
                raise RuntimeError("a loss reads a whole table, which takes steps over all rows: model.row_steps false")
            steps.step(self.state[steps.table.parameter], self.param_groups[0])
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return Adam's state."""
        for steps in self._tables.values():
            self.bring_up_to_date(steps.table)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from Adam's state."""
        for steps in self._tables.values():
            self.bring_up_to_date(steps.table)
        tables = [steps.table.parameter for steps in self._tables.values()] if self._is_mapped else []
        mapped = {values: self.state[values] for values in tables}
        super().load_state_dict(state_dict)
        for values, held in mapped.items():
            for name in _MEANS:
                self.state[values][name] = held[name].copy_(self.state[values][name])
