"""Text -> units, the positions of a word segmenter: a character, or a run that is never cut on its own.

Runs are digits, letters (of any alphabet that writes words without ideographs) and spaces; a line end is one unit, CR
LF too; marks, variation selectors and joined emoji belong to the character before them. Everything works on whole
arrays of code points, so that a megabyte takes milliseconds; a lone surrogate is a code point like any other.
"""

import functools
import unicodedata
from itertools import pairwise
from typing import NamedTuple

import numpy as np

OTHER, LETTER, DIGIT, SPACE, LINE_END, MARK = range(6)
"""kinds of code points; LETTER, DIGIT and SPACE form runs, MARK continues what it follows"""

ZERO_WIDTH_JOINER = 0x200D
UNSEEN = 0x200B, 0x2060, 0xFEFF
"""spaces without a width; `str.isspace` and `str.split` do not count them"""
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""where `str.splitlines` cuts"""

_CODE_POINTS = 0x110000
# Kana, bopomofo and Yi are not letters here: no spaces set their words apart.
_NO_LETTERS = ((0x2E80, 0xABFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F))
_EXTRA_MARKS = ((0xFE00, 0xFE0F), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F), (0xE0100, 0xE01EF), (0x200D, 0x200D))


@functools.cache
def kind_table() -> np.ndarray:
    """The kind of every code point, uint8 of 0x110000. Beyond the basic plane only joined emoji are told apart."""
    table = np.zeros(_CODE_POINTS, "uint8")
    by_category = {"Lu": LETTER, "Ll": LETTER, "Lt": LETTER, "Lm": LETTER, "Lo": LETTER, "Nd": DIGIT}
    by_category |= {"Mn": MARK, "Me": MARK, "Mc": MARK, "Zs": SPACE}
    category = unicodedata.category
    table[:0x10000] = [by_category.get(category(chr(code)), OTHER) for code in range(0x10000)]
    for first, last in _NO_LETTERS:
        part = table[first : last + 1]
        part[part == LETTER] = OTHER
    for first, last in _EXTRA_MARKS:
        table[first : last + 1] = MARK
    table[0x1F1E6:0x1F200] = LETTER  # the letters of flags
    table[[ord(char) for char in LINE_ENDS]] = LINE_END
    table[[ord("\t"), 0x1F]] = SPACE  # with the space separators and line ends: all that `str.isspace` names
    table[list(UNSEEN)] = SPACE
    return table


@functools.cache
def fold_table() -> np.ndarray:
    """Code point -> code point as the model reads it, uint32: full-width signs become half-width."""
    table = np.arange(_CODE_POINTS, dtype="uint32")
    table[0xFF01:0xFF5F] = np.arange(0x21, 0x7F)
    return table


def code_points(text: str) -> np.ndarray:
    """The code points of a text, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "uint32")


CUT_SIGNS = "\ue000\ue001\x00"
"""signs of which hardly a text has all: `cut_at` puts one of them between the parts of a text"""
FEW_PARTS = 100
"""so many parts are sooner cut out one by one"""


def cut_at(text: str, starts: np.ndarray) -> list[str]:
    """The parts of a text that start at those characters, of which the first is 0; joined, they are the text.

    cut_at("今天很好", np.array([0, 2, 3]))  # ['今天', '很', '好']
    """
    if len(starts) > FEW_PARTS and (sign := next((sign for sign in CUT_SIGNS if sign not in text), None)):
        marked = np.insert(code_points(text), starts[1:], ord(sign))
        return marked.tobytes().decode("utf-32-le", "surrogatepass").split(sign)
    return [text[i:j] for i, j in pairwise([*starts.tolist(), len(text)])]


class Units(NamedTuple):
    """A text cut into units.

    Attributes:
        starts: where each unit starts, counted in characters.
        kinds: the kind of its first character.
        codes: that character, folded.
        length: characters of the text.
    """

    starts: np.ndarray
    kinds: np.ndarray
    codes: np.ndarray
    length: int


def split_units(codes: np.ndarray, cuts: np.ndarray | None = None) -> Units:
    """Cuts a text into units.

    Args:
        codes: its code points, see `code_points`.
        cuts: positions where a unit starts whatever stands there (the ends of dictionary words, say).
    """
    kinds = kind_table().take(codes)
    if cuts is None and not np.count_nonzero(kinds):  # OTHER is 0
        return Units(np.arange(len(codes)), kinds, fold_table().take(codes), len(codes))
    is_start = np.empty(len(codes), bool)
    is_start[:1] = True
    if (kinds == MARK).any():
        kinds = _continue_marks(codes, kinds, is_start)
    else:
        is_start[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] == OTHER)
    line_ends = np.flatnonzero(kinds == LINE_END)
    if len(line_ends):
        is_start[line_ends] = True
        line_feeds = line_ends[(codes[line_ends] == 10) & (line_ends > 0)]
        is_start[line_feeds[codes[line_feeds - 1] == 13]] = False
    if cuts is not None:
        is_start[cuts] = True
    starts = np.flatnonzero(is_start)
    return Units(starts, kinds[starts], fold_table().take(codes[starts]), len(codes))


def _continue_marks(codes: np.ndarray, kinds: np.ndarray, is_start: np.ndarray) -> np.ndarray:
    """Fills `is_start` of a text with marks; returns the kinds, each mark with the kind of what it belongs to."""
    marks = kinds == MARK
    base = np.maximum.accumulate(np.where(marks, 0, np.arange(len(codes))))
    of_base = kinds[base]
    white = (of_base == SPACE) | (of_base == LINE_END)
    of_base[(of_base == MARK) | (white & marks)] = OTHER  # nothing to stand on: at the beginning, after white space
    joined = (codes[:-1] == ZERO_WIDTH_JOINER) & ~white[1:]  # what follows a joiner stays with it
    continues = np.where(marks[1:], marks[:-1] | ~white[:-1], joined)
    is_start[1:] = ~continues & (marks[1:] | (of_base[1:] != of_base[:-1]) | (of_base[1:] == OTHER))
    return of_base
