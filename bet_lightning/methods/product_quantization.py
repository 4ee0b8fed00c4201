"""Product quantisation and its kin: rows as codes of shared codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bet_lightning.methods.base import Problem
from bet_lightning.methods.compression import Compressed, Compression, full_tables, with_tables
from bet_lightning.methods.pretraining import PretrainSettings
from bet_lightning.methods.tasks import Epochs, Rounds, Weights, generator_of
from bet_lightning.resolved_budget import ResolvedBudget
from bet_lightning.schedule import LRSchedule
from bet_lightning.table_format import TableShape
from bet_lightning.tables.codebooks import CodebookTable, codebook_bytes

Kind = Literal["pq", "opq", "rq"]
Floats = npt.NDArray[np.float32]

_BITS = (4, 6, 8)  # of a code that are tried; Jégou et al. recommend 8
_SAMPLE = 20_000  # rows that codebooks are learned from


class ProductQuantization(Compression):
    """Rows as codes of codebooks that k-means finds, with faiss (Douze et al. 2024, arXiv 2401.08281).

    ``pq`` is product quantisation (Jégou et al. 2011, TPAMI), ``opq`` rotates rows first so that their parts are
    quantised best (Ge et al. 2013, CVPR), ``rq`` is residual quantisation: each codebook takes what those before it
    left (Chen et al. 2010, Sensors), searched with faiss's beam of five. Codes are fixed, codebooks are trained on.

    For 4, 6 and 8 bits a code, as many codes a row are tried as the budget allows; those of least squared error on the
    rows that they are learned from are taken. A budget pays for codes, packed without gaps, and for codebooks and
    rotation as float32. Deviations: the papers code vectors to be searched, not tables to be trained on; users and
    items share codebooks; several tables share the budget evenly.

    Args:
        kind: ``pq``, ``opq`` or ``rq``, which is also the name of the results.
        pretrain: How the full table is trained.
        train: How long the codebooks may be trained; with 0 epochs they are only found.
        warm_schedule: Learning rate of that training (default: the backbone's recipe).
        turned: See :class:`Compression`. Parts of equally large columns suit ``pq``.

    Raises:
        ValueError: If the kind is unknown.
    """

    def __init__(
        self,
        kind: Kind = "opq",
        pretrain: PretrainSettings = PretrainSettings(),
        train: Epochs = Epochs(max_epochs=100),
        warm_schedule: LRSchedule | None = None,
        turned: bool = False,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"search.method.kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        super().__init__(kind, pretrain, train, warm_schedule, turned)
        self.kind: Kind = kind

    def run(self, problem: Problem) -> Rounds:
        """Train the full table, then codebooks for each budget: see :meth:`Compression.run`.

        Raises:
            ValueError: If faiss is not installed.
        """
        load_faiss()
        return super().run(problem)

    def least_bytes(self, shape: TableShape) -> int:
        """Return the bytes of one code a row."""
        codings = (Coding(self.kind, 1, bits) for bits in _usable_bits(shape.num_rows))
        return shape.num_tables * min(coding.num_bytes(shape) for coding in codings)

    def compress(self, pretrained: Weights, budget: ResolvedBudget) -> Compressed:
        """Code the rows of each table: see :meth:`Compression.compress`."""
        shape = budget.shape
        codings = fitting_codings(self.kind, shape, budget.bytes // shape.num_tables)
        return with_tables(pretrained, [quantize(values, codings) for values in full_tables(pretrained)])


class Coding(NamedTuple):
    """How a row is coded.

    Attributes:
        kind: See :class:`ProductQuantization`.
        num_codes: Codes of a row.
        num_bits: Bits of a code.
    """

    kind: Kind
    num_codes: int
    num_bits: int

    def num_bytes(self, shape: TableShape) -> int:
        """Return the bytes of one of a backbone's tables."""
        columns = shape.width // shape.num_tables
        return codebook_bytes(
            shape.num_rows, columns, self.num_codes, self.num_bits, self.kind == "rq", self.kind == "opq"
        )


def fitting_codings(kind: Kind, shape: TableShape, num_bytes: int) -> list[Coding]:
    """Return the most codes that fit one table's bytes, for each number of bits that any fit for."""
    columns = shape.width // shape.num_tables
    numbers = [number for number in range(columns, 0, -1) if kind == "rq" or columns % number == 0]
    found = []
    for bits in _usable_bits(shape.num_rows):
        codings = (Coding(kind, number, bits) for number in numbers)
        found += [coding for coding in codings if coding.num_bytes(shape) <= num_bytes][:1]
    return found


def quantize(values: Tensor, codings: Sequence[Coding]) -> CodebookTable:
    """Return the table of the coding of least squared error on a sample of the rows.

    Args:
        values: ``(num_rows, max_size)`` float32, on the CPU.
        codings: What is tried, at least one.
    """
    rows = np.ascontiguousarray(values.numpy(), dtype=np.float32)
    sample = rows[torch.randperm(len(rows), generator=generator_of(0))[:_SAMPLE].numpy()]
    tried = [_Quantizer(coding, sample) for coding in codings]
    return min(tried, key=lambda quantizer: quantizer.error).table(rows)


class _Quantizer:
    """Codebooks, learned from rows.

    Args:
        coding: How rows are coded.
        sample: ``(n, max_size)`` rows.
    """

    def __init__(self, coding: Coding, sample: Floats) -> None:
        faiss = load_faiss()
        self.coding = coding
        size = sample.shape[1]
        self.rotation: Floats | None = None
        self.faiss: Any = _untrained(faiss, coding, size)
        if coding.kind == "opq":
            opq, inner = faiss.OPQMatrix(size, coding.num_codes), _untrained(faiss, coding, size)
            opq.pq = inner  # tells the number of bits; held here as faiss does not own it
            opq.niter_pq_0, opq.niter_pq = 10, 1  # a step of k-means a rotation, as in the paper: more gain nothing
            opq.train(sample)
            self.rotation = faiss.vector_to_array(opq.A).reshape(size, size)
        rotated = self._rotate(sample)
        self.faiss.train(rotated)
        self.error = float(np.square(self.faiss.decode(self.faiss.compute_codes(rotated)) - rotated).sum())

    def table(self, rows: Floats) -> CodebookTable:
        """Return the table of coded rows ``(num_rows, max_size)``."""
        faiss, (kind, num_codes, num_bits) = load_faiss(), self.coding
        num_rows, size = rows.shape
        table = CodebookTable(num_rows, size, num_codes, num_bits, kind == "rq", kind == "opq")
        codes = faiss.unpack_bitstrings(self.faiss.compute_codes(self._rotate(rows)), num_codes, num_bits)
        entries = faiss.vector_to_array(self.faiss.codebooks if kind == "rq" else self.faiss.centroids)
        with torch.no_grad():
            table.codes.copy_(torch.from_numpy(codes))
            table.codebooks.copy_(torch.from_numpy(entries).view_as(table.codebooks))
            if self.rotation is not None and table.rotation is not None:
                table.rotation.copy_(torch.from_numpy(self.rotation))
        return table

    def _rotate(self, rows: Floats) -> Floats:
        return rows if self.rotation is None else np.ascontiguousarray(rows @ self.rotation.T)


def _untrained(faiss: Any, coding: Coding, size: int) -> Any:
    """Return faiss's own quantiser."""
    make = faiss.ResidualQuantizer if coding.kind == "rq" else faiss.ProductQuantizer
    quantizer = make(size, coding.num_codes, coding.num_bits)
    quantizer.cp.min_points_per_centroid = 1  # no warnings where rows are few
    return quantizer


def _usable_bits(num_rows: int) -> list[int]:
    """Bits of codes whose codebooks have no more entries than there are rows.

    Raises:
        ValueError: If there are fewer rows than any.
    """
    usable = [bits for bits in _BITS if 2**bits <= num_rows]
    if not usable:
        raise ValueError(f"ProductQuantization needs at least {2 ** _BITS[0]} users and items, got {num_rows}")
    return usable


def load_faiss() -> Any:
    """Import faiss, an optional dependency.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise ValueError("ProductQuantization needs faiss: pip install 'bet-lightning[faiss]'") from None
    return faiss
