"""The columns of a masked table that one of several processes holds."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bet_lightning.tables.base import Fill, Gather
from bet_lightning.tables.masked import MaskedEmbedding
from bet_lightning.tables.prefix_table import PrefixTable


class ColumnShard(PrefixTable):
    r"""Every W-th column of a masked table from the r-th on, for rank r of W, so that prefixes are shared evenly.

    Where columns are propagated and stepped independently of each other, a rank needs no others for that: values,
    gradient and what an optimiser keeps of them are a W-th of the whole table's. :meth:`exchange` gives each rank all
    columns of the rows that its part of a batch needs, and takes their gradients back. Widths that W does not divide
    are filled up with columns that no size reaches.

    A ``state_dict`` is the whole masked table's, so that it does not depend on the number of ranks; all ranks ask for
    it together, as they do for everything else here that moves data.

    Args:
        masked: The whole table, the same on every rank.

    Attributes:
        weight: ``(num_rows, ceil(max_size / W))`` float32.
        sizes: ``(num_rows,)`` integers, of the whole table.
        rank: r.
        num_ranks: W.
    """

    def __init__(self, masked: MaskedEmbedding) -> None:
        super().__init__()
        self.num_rows, self.max_size = masked.num_rows, masked.max_size
        self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
        self.weight = nn.Parameter(self.part_of(masked.weight.detach()))
        self.register_buffer("sizes", masked.sizes.clone())
        self._largest = max(1, int(self.sizes.max()))

    def reset_parameters(self, fill: Fill) -> None:
        """Draw the whole table, and keep the columns that are held here."""
        whole = torch.empty(self.num_rows, self.max_size, device=self.weight.device)
        fill(whole)
        with torch.no_grad():
            self.weight.copy_(self.part_of(whole))

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return the columns that are held here, of rows or of all: ``(b, ceil(max_size / W))``."""
        return self._read(rows, self.weight.shape[1])

    def narrow(self, rows: Tensor | None = None) -> Tensor:
        """Return the same without the last columns that no row uses on any rank."""
        return self._read(rows, -(-self._largest // self.num_ranks))

    def _vectors(self, rows: Tensor | None, width: int) -> Tensor:
        values = self.weight[:, :width] if rows is None else self.weight[:, :width].index_select(0, rows)
        sizes = self.sizes if rows is None else self.sizes[rows]
        columns = torch.arange(width, dtype=torch.int32, device=sizes.device) * self.num_ranks + self.rank
        return values.masked_fill(columns >= sizes.unsqueeze(-1), 0.0)

    def part_of(self, whole: Tensor) -> Tensor:
        """Return the columns of ``(n, max_size)`` that are held here, ``(n, ceil(max_size / W))``, zero beyond them."""
        own = whole[:, self.rank :: self.num_ranks]
        missing = -(-self.max_size // self.num_ranks) - own.shape[1]
        return nn.functional.pad(own, (0, missing)).contiguous()

    def whole(self, part: Tensor) -> Tensor:
        """Return the columns of all ranks in their order.

        Args:
            part: ``(n, c)``, this rank's; without gradient.

        Returns:
            ``(n, min(c W, max_size))``.
        """
        return _interleaved(self._of_all_ranks(part.contiguous()))[:, : self.max_size]

    def to_masked(self) -> MaskedEmbedding:
        """Return the whole table."""
        masked = MaskedEmbedding(self.num_rows, self.max_size).to(self.weight.device)
        with torch.no_grad():
            masked.weight.copy_(self.whole(self.weight.detach()))
        masked.set_sizes(self.sizes)
        return masked

    def exchange(self, rows: Tensor, gather: Gather) -> tuple[Tensor, Tensor]:
        """Return vectors and squared norms of rows with the columns of all ranks.

        Args:
            rows: ``(n,)`` int64; ranks may ask for different rows.
            gather: Returns this rank's columns of the vectors of rows ``(m, c)``, and of their squared norms ``(m,)``
                what its columns add.

        Returns:
            ``(n, c W)`` and ``(n,)``. Their gradients are added up on the rank that holds a column.
        """
        lengths: list[int] = self._of_all_ranks(rows.new_tensor([len(rows)])).flatten().tolist()
        padded = nn.functional.pad(rows, (0, max(lengths) - len(rows)))
        wanted = [each[:length] for each, length in zip(self._of_all_ranks(padded), lengths, strict=True)]
        vectors, norms = gather(torch.cat(wanted))
        columns = torch.cat([vectors, norms.unsqueeze(1)], 1)
        found = cast(Tensor, _Exchange.apply(columns, lengths, self.rank))  # type: ignore[no-untyped-call]
        return _interleaved(found[:, :, :-1]), found[:, :, -1].sum(0)

    def _of_all_ranks(self, values: Tensor) -> Tensor:
        """Return values of all ranks, which are of one shape, ``(W, *shape)``."""
        found = values.new_empty(self.num_ranks, *values.shape)
        dist.all_gather(list(found), values)
        return found

    def total(self, loss: Tensor) -> Tensor:
        """Return the sum of the ranks' losses, with this rank's gradient."""
        everyone = loss.detach().clone()
        dist.all_reduce(everyone)
        return loss + (everyone - loss.detach())

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.whole(self.weight.detach())
        destination[f"{prefix}sizes"] = self.sizes

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict[f"{prefix}weight"] = self.part_of(state_dict[f"{prefix}weight"])
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._largest = max(1, int(self.sizes.max()))


def _interleaved(parts: Tensor) -> Tensor:
    """Bring columns of ranks ``(W, n, c)`` into their order, ``(n, c W)``."""
    return parts.permute(1, 2, 0).flatten(1)


class _Exchange(torch.autograd.Function):
    """From columns of the rows that each rank wants, one rank's after the other, to those that this rank wants."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, lengths: list[int], rank: int) -> Tensor:
        ctx.lengths, ctx.rank = lengths, rank
        out = columns.new_empty(len(lengths), lengths[rank], columns.shape[1])
        dist.all_to_all_single(out.flatten(0, 1), columns.contiguous(), [lengths[rank]] * len(lengths), lengths)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        lengths, grad = ctx.lengths, grads[0].contiguous()
        out = grad.new_empty(sum(lengths), grad.shape[2])
        dist.all_to_all_single(out, grad.flatten(0, 1), lengths, [lengths[ctx.rank]] * len(lengths))
        return out, None, None
