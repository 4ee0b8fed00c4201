from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.serving import gaps
from bet_lightning.serving.gaps import pack_gaps, unpack_gaps

SHAPES = st.tuples(st.integers(0, 12), st.sampled_from([1, 2, 7, 50, 300]), st.integers(0, 2**32 - 1))


def draw(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and columns of a random binary matrix whose rows are of very different densities."""
    rows, cols, seed = shape
    generator = np.random.default_rng(seed)
    dense = generator.random((rows, cols)) < generator.choice([0, 0.02, 0.5, 1], (rows, 1))
    return dense.sum(1), np.nonzero(dense)[1]


def bits_of(span: int, count: int) -> int:
    return max((3 * span // (4 * max(count, 1))).bit_length() - 1, 0)


def decode(quotients: np.ndarray, remainders: np.ndarray, rows: int, cols: int) -> list[list[int]]:
    """Columns of each row, decoded bit by bit."""
    unary = "".join(f"{byte:08b}"[::-1] for byte in quotients.tolist())
    binary = iter("".join(f"{word:032b}"[::-1] for word in remainders.tolist()))
    codes: Iterator[int] = map(len, unary.rstrip("0").split("1"))

    def number(bits: int) -> int:
        return next(codes) << bits | int("0" + "".join(next(binary) for _ in range(bits))[::-1], 2)

    counts = [number(bits_of(unary.count("1") - rows, rows)) for _ in range(rows)]
    found = []
    for count in counts:
        column, row = -1, []
        for _ in range(count):
            column += number(bits_of(cols, count)) + 1
            row.append(column)
        found.append(row)
    return found


def refused(quotients: np.ndarray, remainders: np.ndarray, rows: int, cols: int) -> str:
    with pytest.raises(ValueError) as caught:
        unpack_gaps(quotients, remainders, rows, cols)
    return str(caught.value)


@given(SHAPES, st.sampled_from([1, 2, 5, 1000]), st.sampled_from([1, 3, 1000]))
def test_columns_come_back(shape: tuple[int, int, int], codes_at_once: int, bytes_at_once: int) -> None:
    counts, index = draw(shape)
    streams = pack_gaps(counts, index, shape[1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gaps, "_CODES_AT_ONCE", codes_at_once)
        patched.setattr(gaps, "_BYTES_AT_ONCE", bytes_at_once)
        found_counts, found = unpack_gaps(*streams, *shape[:2])
    assert np.array_equal(found_counts, counts)
    assert np.array_equal(found, index)
    rows = np.split(index, np.cumsum(counts)[:-1]) if len(counts) else []
    assert decode(*streams, *shape[:2]) == [row.tolist() for row in rows]


@pytest.mark.parametrize(
    ("counts", "num_cols"), [([], 5), ([0], 1), ([0, 0, 0], 9), ([0, 70_000, 0, 1, 0], 70_000), ([1, 1], 2**32)]
)
def test_rows_without_columns_and_with_all_of_them(counts: list[int], num_cols: int) -> None:
    index = np.concatenate([np.arange(num_cols - count, num_cols) for count in counts] or [np.empty(0, np.int64)])
    found_counts, found = unpack_gaps(*pack_gaps(np.array(counts, np.int64), index, num_cols), len(counts), num_cols)
    assert found_counts.tolist() == counts
    assert np.array_equal(found, index)
    assert found.dtype == (np.uint8 if num_cols <= 256 else np.uint32)


def test_a_column_takes_hardly_more_than_its_information() -> None:
    generator = np.random.default_rng(0)
    counts = generator.geometric(0.05, 2000)
    index = np.concatenate([np.sort(generator.choice(40_000, count, replace=False)) for count in counts])
    taken = sum(8 * stream.nbytes for stream in pack_gaps(counts, index, 40_000)) / len(index)
    information = (counts * np.log2(40_000 / counts)).sum() / len(index)
    assert taken < information + 2


@given(SHAPES, st.data())
def test_damaged_streams_never_give_unsound_columns(shape: tuple[int, int, int], data: st.DataObject) -> None:
    rows, cols, _ = shape
    quotients, remainders = pack_gaps(*draw(shape), cols)
    stream = data.draw(st.sampled_from([quotients, remainders.view(np.uint8)]))
    if len(stream):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        counts, index = unpack_gaps(quotients, remainders, rows, cols)
    except ValueError:
        return
    assert len(counts) == rows and counts.sum(dtype=np.int64) == len(index)
    for row in np.split(index.astype(np.int64), np.cumsum(counts, dtype=np.int64)[:-1]) if rows else []:
        assert (np.diff(row) > 0).all() and row.max(initial=0) < cols
    again = pack_gaps(counts.astype(np.int64), index.astype(np.int64), cols)
    assert np.array_equal(again[0], quotients) and np.array_equal(again[1], remainders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, r: (q.astype(np.int64), r), "streams of int64"),
        (lambda q, r: (q, r.astype(np.float32)), "float32"),
        (lambda q, r: (q.reshape(1, -1), r), "streams of uint8"),
        (lambda q, r: (q[:-1], r), "codes are not those of"),
        (lambda q, r: (q[:0], r), "0 codes are not those of 40 rows"),
        (lambda q, r: (np.append(q, np.uint8(0)), r), "quotients are followed by zeros"),
        (lambda q, r: (np.append(q, np.uint8(1)), r), "counts that add up to"),
        (lambda q, r: (np.full(10**6, 255, np.uint8), r), "8000000 codes are not those of 40 rows of 500 columns"),
        (lambda q, r: (np.concatenate([np.zeros(100, np.uint8), q]), r), "a number is larger than 500"),
        (lambda q, r: (q, r[:-1]), "more quotients than remainders"),
        (lambda q, r: (q, np.append(r, np.uint32(0))), "more remainders than quotients"),
        (lambda q, r: (q, r | (np.arange(len(r)) == len(r) - 1).astype(np.uint32) << 31), "more remainders than"),
        (lambda q, r: (q, np.full_like(r, 2**32 - 1)), "counts that add up to"),
    ],
)
def test_damaged_streams_are_refused(change: Callable[..., tuple[np.ndarray, np.ndarray]], message: str) -> None:
    counts, index = np.full(40, 11), np.tile(np.arange(11) * 45, 40)
    quotients, remainders = pack_gaps(counts, index, 500)
    assert message in refused(*change(quotients, remainders), 40, 500)


def test_columns_beyond_the_last_are_refused() -> None:
    quotients, remainders = pack_gaps(np.array([3]), np.array([10, 11, 40]), 41)
    assert "no column 40 of 40" in refused(quotients, remainders, 1, 40)
