"""Text as 16-bit code units: which of them words are made of, and how a word becomes numbers.

A word is packed four characters to a number of 64 bits, the first character highest, the rest filled with zeros: words
of up to four characters are one number, words of up to eight are two. The order of the numbers is that of the words.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nlptasks.text.units import DIGIT, LETTER, kind_table

PER_KEY = 4
"""characters of a word in one number"""
HAN, LETTERS, DIGITS = 1, 2, 3
"""kinds of characters; 0: no part of any word"""
_HAN_RANGES = ((0x3007, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_MASKS = np.array([(1 << 64) - (1 << (64 - 16 * n)) for n in range(PER_KEY + 1)], "uint64")


@functools.cache
def word_kinds() -> np.ndarray:
    """The kind of every 16-bit unit, uint8: ideographs, letters and digits form words, halves of others do not."""
    kinds = kind_table()[:0x10000]
    table = np.zeros(0x10000, "uint8")
    table[kinds == LETTER] = LETTERS
    table[kinds == DIGIT] = DIGITS
    for first, last in _HAN_RANGES:
        table[first : last + 1] = HAN
    return table


def chunks(texts: Iterable[str], size: int) -> Iterator[np.ndarray]:
    """The 16-bit units of texts, uint16, about `size` at a time, with line ends between texts and at both ends."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text) + 1
        if length >= size:
            yield _units(waiting)
            waiting, length = [], 0
    if waiting:
        yield _units(waiting)


def _units(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(["", *texts, ""]).encode("utf-16-le", "surrogatepass"), "uint16")


def runs_on(kinds: np.ndarray) -> np.ndarray:
    """For every place but the last: whether it and the next are letters, or digits, of one run."""
    return (kinds[1:] == kinds[:-1]) & (kinds[1:] > HAN)


def packed(units: np.ndarray) -> np.ndarray:
    """For each place the number of the four characters from there on, uint64."""
    padded = np.zeros(len(units) + PER_KEY - 1, "uint64")
    padded[: len(units)] = units
    keys = np.zeros(len(units), "uint64")
    for n in range(PER_KEY):
        keys = (keys << np.uint64(16)) | padded[n : n + len(units)]
    return keys


def keys_of(quads: np.ndarray, starts: np.ndarray, lengths: np.ndarray, columns: int) -> list[np.ndarray]:
    """The numbers of words: `columns` arrays.

    Args:
        quads: from `packed`.
        starts: where each word starts.
        lengths: its characters, at most 4 * `columns`.
    """
    found = []
    for column in range(columns):
        at = np.minimum(starts + PER_KEY * column, len(quads) - 1)
        found.append(quads[at] & _MASKS[np.clip(lengths - PER_KEY * column, 0, PER_KEY)])
    return found


def columns_of(length: int) -> int:
    """How many numbers a word of so many characters is."""
    return -(-length // PER_KEY)


def unpack(keys: np.ndarray) -> np.ndarray:
    """The characters of packed words: (columns, words) -> uint16 (words, 4 * columns), zeros behind each word."""
    shifts = np.arange(48, -1, -16, dtype="uint64")
    parts = (keys.T[:, :, None] >> shifts) & np.uint64(0xFFFF)
    return parts.reshape(keys.shape[1], PER_KEY * len(keys)).astype("uint16")


def spell(keys: np.ndarray, length: int) -> list[str]:
    """The words of packed words of so many characters."""
    units = unpack(keys)[:, :length].astype("uint32")
    return np.ascontiguousarray(units).view(f"U{length}").ravel().tolist()
