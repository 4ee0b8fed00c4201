"""What values at any positions cost with an index of where they are."""

from bet_lightning.table_format import size_bytes

_FLOAT_BYTES = 4


def sparse_bytes(count: int, num_rows: int, max_size: int) -> int:
    """Return the bytes of so many float32 values at any positions, with the smaller of two indices.

    One index is the column of each value (a byte, or two beyond 256 columns) and the number of values of each row (a
    byte, or two where it may be beyond 255); the other is a bit a value of the full table.
    """
    per_value, per_row, bits = _index_bytes(num_rows, max_size)
    return _FLOAT_BYTES * count + min(per_value * count + per_row, bits)


def most_values(num_bytes: int, num_rows: int, max_size: int) -> int:
    """Return the most values whose :func:`sparse_bytes` are within so many bytes, 0 if none."""
    per_value, per_row, bits = _index_bytes(num_rows, max_size)
    most = max((num_bytes - per_row) // (_FLOAT_BYTES + per_value), (num_bytes - bits) // _FLOAT_BYTES)
    return min(max(most, 0), num_rows * max_size)


def _index_bytes(num_rows: int, max_size: int) -> tuple[int, int, int]:
    """Bytes a value and beside them of an index of columns, and those of an index of bits."""
    return size_bytes(max_size, 1), size_bytes(max_size, 0) * num_rows, -(-num_rows * max_size // 8)
