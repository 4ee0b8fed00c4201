"""A table whose rows are put together from entries of shared codebooks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bet_lightning.tables.base import Description, EmbeddingTable, Fill

_FLOAT_BYTES = 4


class CodebookTable(EmbeddingTable):
    r"""Row n is made of one entry of each of M codebooks of :math:`2^b` entries, named by its codes of b bits.

    .. math:: e_n = [\, C_{1, c_{n1}}, \dots, C_{M, c_{nM}} \,] R \quad \text{or} \quad e_n = \sum_m C_{m, c_{nm}}

    Entries of the product form are parts of a row (Jégou et al. 2011), in a basis that may be rotated (Ge et al. 2013);
    those of the additive form are whole rows. Codes and rotation are fixed, codebooks are trained.

    Args:
        num_rows: Number of rows.
        max_size: Columns.
        num_codes: Codes of a row, M; divides ``max_size`` unless additive.
        num_bits: Bits of a code, b, from 1 to 8.
        additive: Whether entries are added up, rather than put side by side.
        rotated: Whether rows are rotated after they are put together.

    Attributes:
        codes: ``(num_rows, num_codes)`` uint8, below :math:`2^b`.
        codebooks: ``(num_codes, 2 ** num_bits, width)`` float32, width being ``max_size`` or its M-th part.
        rotation: ``(max_size, max_size)`` float32, R; None unless rotated.

    Raises:
        ValueError: If ``num_codes`` or ``num_bits`` is out of range.
    """

    codes: Tensor
    rotation: Tensor | None

    def __init__(
        self,
        num_rows: int,
        max_size: int,
        num_codes: int,
        num_bits: int,
        additive: bool = False,
        rotated: bool = False,
    ) -> None:
        super().__init__()
        if num_codes < 1 or (not additive and max_size % num_codes):
            raise ValueError(f"num_codes must divide {max_size} columns, got {num_codes}")
        if not 1 <= num_bits <= 8:
            raise ValueError(f"num_bits must be in 1..8, got {num_bits}")
        self.num_rows = num_rows
        self.max_size = max_size
        self.num_codes = num_codes
        self.num_bits = num_bits
        self.additive = bool(additive)
        self.rotated = bool(rotated)
        width = max_size if additive else max_size // num_codes
        self.codebooks = nn.Parameter(torch.zeros(num_codes, 2**num_bits, width))
        self.register_buffer("codes", torch.zeros(num_rows, num_codes, dtype=torch.uint8))
        self.register_buffer("rotation", torch.eye(max_size) if rotated else None)

    @property
    def num_used(self) -> int:
        """Number of floats: those of the codebooks and of the rotation."""
        return self.codebooks.numel() + (0 if self.rotation is None else self.rotation.numel())

    @property
    def num_bytes(self) -> int:
        """Bytes of codes, packed without gaps, and of codebooks and rotation as float32."""
        return codebook_bytes(self.num_rows, self.max_size, self.num_codes, self.num_bits, self.additive, self.rotated)

    def reset_parameters(self, fill: Fill) -> None:
        """Draw entries as the backbone draws a table, those to be added up so that sums vary like it; codes stay."""
        entries = torch.zeros_like(self.codebooks.data.flatten(0, 1))
        fill(entries)
        with torch.no_grad():
            self.codebooks.copy_(entries.view_as(self.codebooks) / (self.num_codes**0.5 if self.additive else 1))

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return rows as their codes say: see :meth:`EmbeddingTable.forward`."""
        codes = self.codes if rows is None else self.codes[rows]
        offsets = torch.arange(self.num_codes, device=codes.device) << self.num_bits
        positions, entries = codes.long() + offsets, self.codebooks.flatten(0, 1)
        if self.additive:
            return functional.embedding_bag(positions, entries, mode="sum")
        values = functional.embedding(positions, entries).flatten(1)
        return values if self.rotation is None else values @ self.rotation

    def describe(self) -> Description:
        """Return what the table is built from: see :meth:`EmbeddingTable.describe`."""
        names = ("num_rows", "max_size", "num_codes", "num_bits", "additive", "rotated")
        return {"kind": type(self).__name__, **{name: int(getattr(self, name)) for name in names}}

    def extra_repr(self) -> str:
        """Show the shape, codes and bits."""
        form = "additive" if self.additive else "rotated" if self.rotated else "product"
        return f"{self.num_rows}, max_size={self.max_size}, {form} {self.num_codes} x {self.num_bits} bits"


def codebook_bytes(
    num_rows: int, max_size: int, num_codes: int, num_bits: int, additive: bool = False, rotated: bool = False
) -> int:
    """Return the bytes of a :class:`CodebookTable`: packed codes, and floats of codebooks and rotation."""
    entries = (max_size << num_bits) * (num_codes if additive else 1)
    floats = entries + (max_size**2 if rotated else 0)
    return -(-num_rows * num_codes * num_bits // 8) + _FLOAT_BYTES * floats
