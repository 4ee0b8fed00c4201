"""Which rows of a table have values: as a bit a row, or by Elias and Fano's code where few of them do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bet_lightning.table_format import filled_bytes, low_bits, upper_bits

Bits = npt.NDArray[np.uint8]


def pack_filled(rows: npt.NDArray[np.int64], num_rows: int) -> Bits:
    """Return the code of some rows, in a number of bytes that depends on how many there are alone.

    The low bits of the rows' numbers follow one another; of the others it is said in unary by how much each is larger
    than the one before (Elias 1974, Fano 1971).

    Args:
        rows: ``(k,)`` row numbers, ascending.
        num_rows: Rows of the table.

    Returns:
        ``(filled_bytes(num_rows, k),)`` uint8.
    """
    low = low_bits(num_rows, len(rows))
    if low is None:
        bits = np.zeros(num_rows, np.bool_)
        bits[rows] = True
        return np.packbits(bits)
    upper = np.zeros(upper_bits(num_rows, len(rows), low), np.bool_)
    upper[(rows >> low) + np.arange(len(rows))] = True
    lower = (rows[:, None] >> np.arange(low) & 1).astype(np.bool_)
    return np.packbits(np.concatenate([upper, lower.ravel()]))


def unpack_filled(code: Bits, num_rows: int, num_filled: int) -> npt.NDArray[np.int64]:
    """Return the rows that :func:`pack_filled` packed.

    Args:
        code: ``(filled_bytes(num_rows, num_filled),)`` uint8.
        num_rows: Rows of the table.
        num_filled: Those of them that have values.

    Raises:
        ValueError: If it is no code of so many rows.
    """
    if code.dtype != np.uint8 or code.shape != (filled_bytes(num_rows, num_filled),):
        raise ValueError(f"{code.shape} of {code.dtype} do not say which {num_filled} of {num_rows} rows have values")
    bits = np.unpackbits(code)
    low = low_bits(num_rows, num_filled)
    length = num_rows if low is None else upper_bits(num_rows, num_filled, low)
    ones = np.flatnonzero(bits[:length])
    if len(ones) != num_filled:
        raise ValueError(f"{len(ones)} rows have values, not {num_filled}")
    if low is None:
        return ones
    lower = bits[length : length + num_filled * low].reshape(num_filled, low).astype(np.int64)
    rows = (ones - np.arange(num_filled) << low) + (lower << np.arange(low)).sum(1)
    if num_filled and (rows[-1] >= num_rows or (rows[1:] <= rows[:-1]).any()):
        raise ValueError("rows that have values are not in order")
    return np.asarray(rows, np.int64)
