"""Small numbers as digits of 32-bit words: 20 of base 3 in a word, 11 of base 7, 8 of base 15."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bet_lightning.table_format import digits_a_word

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.uint8]
_WORDS_AT_ONCE = 1 << 14  # temporaries stay in cache


def pack_digits(numbers: npt.NDArray[np.integer[Any]], base: int) -> Words:
    """Return words of numbers below a base, the first number of a word being its lowest digit.

    Args:
        numbers: ``(n,)`` integers from 0 to ``base - 1``.
        base: The base, from 2 to 2**16.

    Returns:
        ``(ceil(n / digits),)`` uint32; the last word is filled up with zeros.
    """
    digits = digits_a_word(base)
    padded = np.zeros(-(-len(numbers) // digits) * digits, np.uint32)
    padded[: len(numbers)] = numbers
    words = np.zeros(len(padded) // digits, np.uint32)
    for column in padded.reshape(-1, digits).T[::-1]:
        words *= np.uint32(base)
        words += column
    return words


def unpack_digits(words: Words, base: int, start: int, stop: int) -> npt.NDArray[np.uint16]:
    """Return some of the numbers that :func:`pack_digits` packed.

    Args:
        words: The words.
        base: The base.
        start: The first number.
        stop: One more than the last.

    Returns:
        ``(stop - start,)`` uint16.
    """
    digits = digits_a_word(base)
    first, last = start // digits, -(-stop // digits)
    out = np.empty((last - first, digits), np.uint16)
    divisor = np.uint32(base)
    for begin in range(first, last, _WORDS_AT_ONCE):
        rest = words[begin : min(begin + _WORDS_AT_ONCE, last)]
        block = out[begin - first : begin - first + len(rest)]
        for digit in range(digits - 1):
            quotient = rest // divisor
            block[:, digit] = rest - quotient * divisor
            rest = quotient
        block[:, digits - 1] = rest
    return out.reshape(-1)[start - first * digits : stop - first * digits]


def digits_at(words: Words, base: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return the numbers at positions of any shape."""
    digits = digits_a_word(base)
    powers = np.uint32(base) ** np.arange(digits, dtype=np.uint32)
    return words[positions // digits] // powers[positions % digits] % np.uint32(base)


def check_digits(words: npt.NDArray[Any], base: int, count: int) -> None:
    """Refuse what :func:`pack_digits` cannot have made of so many numbers.

    Raises:
        ValueError: If the words are of another dtype or number, or one is too large.
    """
    digits = digits_a_word(base)
    if words.dtype != np.uint32 or words.shape != (-(-count // digits),):
        raise ValueError(f"{words.shape} words of {words.dtype} for {count} digits of base {base}")
    if not len(words):
        return
    last = count - (len(words) - 1) * digits
    if int(words[:-1].max(initial=0)) >= base**digits or int(words[-1]) >= base**last:
        raise ValueError(f"a word has no {digits} digits of base {base}")
