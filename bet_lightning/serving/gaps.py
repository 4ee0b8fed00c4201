"""Sorted columns of rows, such as the items of each user, as Golomb-Rice codes in about 1.5 bytes each.

The numbers coded are the rows' counts, then each row's gaps: how many columns are left out before each column. A code
splits a number at its lowest bits: the quotient stands in one stream as so many zeros and then a one, the remainder in
another stream as it is. How many bits a remainder has follows from the mean of the counts, or from the row's count, so
that it is not stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.serving.ids import smallest_dtype

_CODES_AT_ONCE = 1 << 14  # temporaries stay in cache
_BYTES_AT_ONCE = 1 << 13  # of quotients
Integers = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.unsignedinteger[Any]]


def pack_gaps(counts: Integers, index: Integers, num_cols: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Return the streams of codes of sorted columns.

    Args:
        counts: ``(n,)`` int64, number of columns of each row.
        index: ``(sum of counts,)`` int64, columns, row after row, sorted and unique within a row.
        num_cols: Number that all columns are below, at most 2**32.

    Returns:
        Quotients, uint8, and remainders, uint32: streams of bits, from the lowest bit of the first byte or word on, the
        last one filled up with zeros.
    """
    gaps = np.diff(index, prepend=-1) - 1
    firsts = (np.cumsum(counts) - counts)[counts > 0]
    gaps[firsts] = index[firsts]
    numbers = np.concatenate([counts, gaps])
    of_counts = _bits(len(index), np.array([len(counts)])).repeat(len(counts))
    bits = np.concatenate([of_counts, _bits(num_cols, counts).repeat(counts)])

    ends = np.cumsum((numbers >> bits) + 1)
    ones = np.zeros(ends[-1] if len(ends) else 0, np.bool_)
    ones[ends - 1] = True

    starts = np.cumsum(bits) - bits
    remainders = (numbers & ((1 << bits) - 1)) << (starts & 31)
    num_words = -(-int(bits.sum()) // 32)
    words = np.zeros(num_words + 2, np.int64)  # a last remainder of no bits begins behind the last word
    np.add.at(words, starts >> 5, remainders & 0xFFFFFFFF)
    np.add.at(words, (starts >> 5) + 1, remainders >> 32)
    return np.packbits(ones, bitorder="little"), words[:num_words].astype(np.uint32)


def unpack_gaps(
    quotients: npt.NDArray[Any], remainders: npt.NDArray[Any], num_rows: int, num_cols: int
) -> tuple[Unsigned, Unsigned]:
    """Return the columns that :func:`pack_gaps` packed.

    Args:
        quotients: The quotients.
        remainders: The remainders.
        num_rows: Number of rows.
        num_cols: Number of columns, at most 2**32.

    Returns:
        Counts ``(num_rows,)`` and columns ``(sum of counts,)``, in the smallest unsigned dtypes that hold them.
        Besides these, it takes 24 bytes a row and two megabytes.

    Raises:
        ValueError: If :func:`pack_gaps` cannot have made the streams of so many rows and columns.
    """
    if quotients.dtype != np.uint8 or remainders.dtype != np.uint32 or quotients.ndim != 1 or remainders.ndim != 1:
        raise ValueError(f"streams of {quotients.dtype} {quotients.shape} and {remainders.dtype} {remainders.shape}")
    blocks = range(0, len(quotients), _BYTES_AT_ONCE)
    num_codes = sum(int(np.bitwise_count(quotients[start : start + _BYTES_AT_ONCE]).sum()) for start in blocks)
    if not num_rows <= num_codes <= num_rows * (1 + num_cols):  # before anything of this length is allocated
        raise ValueError(f"{num_codes} codes are not those of {num_rows} rows of {num_cols} columns")
    reader = _Reader(quotients, remainders)
    counts = np.empty(num_rows, np.int64)
    bits = _bits(num_codes - num_rows, np.array([num_rows]))
    for start in range(0, num_rows, _CODES_AT_ONCE):
        block = counts[start : start + _CODES_AT_ONCE]
        block[:] = reader.read(bits.repeat(len(block)), num_cols)
    if counts.sum() != num_codes - num_rows:
        raise ValueError(f"{num_codes} codes are not those of {num_rows} counts that add up to {counts.sum()}")
    index = _read_columns(reader, counts, num_cols)
    reader.finish()
    return counts.astype(smallest_dtype(int(counts.max(initial=0)))), index


def _bits(span: int, counts: Integers) -> Integers:
    """Bits of remainders that suit ``counts`` numbers with a sum of ``span``: log2 of 3/4 mean, rounded down."""
    exponents: Integers = np.frexp(3 * span // (4 * np.maximum(counts, 1)))[1].astype(np.int64)
    return np.maximum(exponents - 1, 0)


def _read_columns(reader: _Reader, counts: Integers, num_cols: int) -> Unsigned:
    """Read gaps and add them up to columns, in blocks that begin and end anywhere in a row."""
    counts = counts[counts > 0]
    ends = np.cumsum(counts)
    total = int(counts.sum())
    index = np.empty(total, smallest_dtype(num_cols - 1))
    passed = 0  # columns up to the last one of the row that the block before ended in
    for start in range(0, total, _CODES_AT_ONCE):
        stop = min(start + _CODES_AT_ONCE, total)
        rows = slice(np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop, "left") + 1)
        parts = np.diff(ends[rows].clip(max=stop), prepend=start)  # of each row, in this block
        gaps = reader.read(_bits(num_cols, counts[rows]).repeat(parts), num_cols - 1)
        sums = np.cumsum(np.append(passed, gaps + 1))
        before = sums[np.cumsum(parts) - parts]
        before[0] = 0
        columns = sums[1:] - before.repeat(parts) - 1
        if columns.max() >= num_cols:
            raise ValueError(f"there is no column {columns.max()} of {num_cols}")
        index[start:stop] = columns
        passed = int(columns[-1]) + 1 if ends[rows][-1] > stop else 0
    return index


class _Reader:
    """A reader of codes from the beginning of their streams.

    Args:
        quotients: ``(q,)`` uint8.
        remainders: ``(r,)`` uint32.
    """

    def __init__(self, quotients: npt.NDArray[Any], remainders: npt.NDArray[Any]) -> None:
        self._quotients = quotients
        self._remainders = remainders
        self._ones = np.array([-1])  # places of ones: of the last code read, and of codes ahead
        self._num_bytes = 0  # of quotients that were searched for ones
        self._place = 0  # bits of remainders that were read

    def read(self, bits: Integers, largest: int) -> Integers:
        """Return the next numbers, of which there must be enough.

        Args:
            bits: ``(b,)`` int64, bits of each remainder.
            largest: Largest number that is sound.

        Raises:
            ValueError: If the remainders end too early or a number is larger.
        """
        quotients = np.diff(self._next_ones(len(bits))) - 1
        starts = np.cumsum(bits) - bits + self._place % 32
        first = self._place // 32
        self._place += int(bits.sum())
        if self._place > 32 * len(self._remainders):
            raise ValueError("there are more quotients than remainders")
        words = np.zeros(-(-self._place // 32) - first + 2, np.int64)
        taken = self._remainders[first : first + len(words)]
        words[: len(taken)] = taken
        at = starts >> 5
        # At most 31 bits from the 31st on: the sign of an upper word is never among them.
        remainders = (words[at] | words[at + 1] << 32) >> (starts & 31) & ((1 << bits) - 1)
        # The quotients too, because one that is too large might overflow when it is shifted.
        numbers: Integers = quotients << bits | remainders
        if (quotients > largest >> bits).any() or (numbers > largest).any():
            raise ValueError(f"a number is larger than {largest}")
        return numbers

    def finish(self) -> None:
        """Check that all was read.

        Raises:
            ValueError: If bytes, words or bits are left over.
        """
        rest = self._remainders[self._place // 32 :]
        if len(rest) > (self._place % 32 > 0) or (rest >> self._place % 32).any():
            raise ValueError("there are more remainders than quotients")
        if int(self._ones[0]) // 8 != len(self._quotients) - 1:
            raise ValueError("quotients are followed by zeros")

    def _next_ones(self, count: int) -> Integers:
        """Places of the last one and of the next ones, ``(count + 1,)``."""
        found = [self._ones]
        num_found = len(self._ones)
        while num_found <= count:
            block = self._quotients[self._num_bytes : self._num_bytes + _BYTES_AT_ONCE]
            found.append(np.flatnonzero(np.unpackbits(block, bitorder="little")) + 8 * self._num_bytes)
            num_found += len(found[-1])
            self._num_bytes += len(block)
        ones: Integers = np.concatenate(found)
        self._ones = ones[count:]
        return ones[: count + 1]
