import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.serving.digits import check_digits, digits_at, pack_digits, unpack_digits

BASES = st.sampled_from([2, 3, 4, 6, 7, 10, 15, 33, 129, 255, 513])


@given(BASES, st.lists(st.integers(0, 10**6), max_size=90), st.data())
def test_digits_come_back(base: int, drawn: list[int], data: st.DataObject) -> None:
    numbers = np.array(drawn, np.int64) % base
    words = pack_digits(numbers, base)
    check_digits(words, base, len(numbers))
    stop = data.draw(st.integers(0, len(numbers)))
    start = data.draw(st.integers(0, stop))
    assert unpack_digits(words, base, start, stop).tolist() == numbers[start:stop].tolist()
    positions = np.arange(start, stop)[::-1].copy()
    assert digits_at(words, base, positions).tolist() == numbers[positions].tolist()


@pytest.mark.parametrize(("base", "digits"), [(3, 20), (4, 16), (7, 11), (15, 8), (255, 4)])
def test_a_word_holds_as_many_digits_as_it_can(base: int, digits: int) -> None:
    assert base**digits <= 2**32 < base ** (digits + 1)
    assert [len(pack_digits(np.zeros(count, np.int64), base)) for count in (digits, digits + 1)] == [1, 2]


def test_words_that_are_no_digits_are_refused() -> None:
    words = pack_digits(np.arange(30) % 3, 3)
    for broken in (words[:-1], words.astype(np.int64), np.full_like(words, 2**32 - 1)):
        with pytest.raises(ValueError, match="base 3"):
            check_digits(broken, 3, 30)
    with pytest.raises(ValueError, match="base 3"):
        check_digits(np.array([words[0], 3**10], np.uint32), 3, 30)  # an eleventh digit of ten
