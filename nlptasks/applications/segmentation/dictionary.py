"""User dictionaries: words with log weights, which an Aho-Corasick automaton finds in a text, overlapping or not."""

import math
import re
from collections.abc import Mapping

import ahocorasick
import numpy as np

from nlptasks.files import PathLike, read_lines
from nlptasks.text.units import LINE_ENDS

ALWAYS, NEVER = math.inf, -math.inf
JIEBA_WEIGHT = 10.0
"""log weight per unit of a word in jieba's format; the word is cut out in all but the strangest contexts"""
_JIEBA = re.compile(r"(?P<word>\S+|.+?(?=\s+\d))(?:\s+(?P<frequency>\d+))?(?:\s+[A-Za-z]+)?")
"""a word may contain white space if a frequency marks its end"""
_FORMATS = "`word,multiplier`, or jieba's `word`, `word frequency`, `word tag` or `word frequency tag`"


class UserDictionary:
    """Words that a segmenter should prefer or avoid, with their log weights.

        segmenter = nlptasks.load("segmenter")
        segmenter.dictionary = nlptasks.UserDictionary({"自然语言处理": 20.0})
        segmenter.segment("我爱自然语言处理。")  # ['我', '爱', '自然语言处理', '。']

    Wherever a word occurs, its weight is added to the scores of its tags (s for a word of one unit, otherwise b, m ...
    e). The weight `math.inf` always cuts the word out, unless it overlaps another such word; `-math.inf` forbids it.
    Words are literal strings, not patterns.

    Args:
        words: word to log weight.

    Raises:
        ValueError: a word is empty or contains a line end, or a weight is not a number.
    """

    def __init__(self, words: Mapping[str, float] | None = None) -> None:
        self._words: dict[str, float] = {}
        self._automaton: ahocorasick.Automaton | None = None
        for word, weight in (words or {}).items():
            self.add(word, weight)

    def __len__(self) -> int:
        return len(self._words)

    @property
    def words(self) -> dict[str, float]:
        """A copy of the words with their log weights."""
        return dict(self._words)

    def add(self, word: str, weight: float = JIEBA_WEIGHT) -> None:
        """Adds a word, or changes its log weight.

        Raises:
            ValueError: the word is empty or contains a line end, or the weight is not a number.
        """
        if not word or any(char in LINE_ENDS for char in word):
            raise ValueError(f"a dictionary word must be some characters without a line end. Received: {word!r}.")
        if math.isnan(weight):
            raise ValueError(f"the weight of a dictionary word must be a number. Received: {word!r}, {weight}.")
        self._words[word] = float(weight)
        self._automaton = None

    @classmethod
    def from_file(cls, path: PathLike) -> "UserDictionary":
        """Reads a dictionary from a file with one word per line, UTF-8, plain or gzip.

            segmenter.dictionary = UserDictionary.from_file("words.txt")

        A line is `word,multiplier` or jieba's `word [frequency] [tag]`. The log of the multiplier is the weight: a
        multiplier above 1 favors the word, one below 1 disfavors it, 0 or less forbids it, and `inf` always cuts it
        out. In jieba's format frequency 0 forbids the word, and anything else favors it strongly.

        Raises:
            FileNotFoundError, ValueError: the file is missing, or a line cannot be read; the message names both.
        """
        dictionary = cls()
        for line_number, line in read_lines(path):
            try:
                dictionary.add(*_parse(line))
            except ValueError as error:
                raise ValueError(f"{path}:{line_number}: {error}") from None
        return dictionary

    def find(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns every occurrence in a text: starts, ends and weights, as arrays."""
        if not self._words:
            return np.zeros(0, "int64"), np.zeros(0, "int64"), np.zeros(0)
        if self._automaton is None:
            self._automaton = ahocorasick.Automaton()
            for word, weight in self._words.items():
                self._automaton.add_word(word, (len(word), weight))
            self._automaton.make_automaton()
        found = [(last + 1 - length, last + 1, weight) for last, (length, weight) in self._automaton.iter(text)]
        starts, ends, weights = zip(*found, strict=True) if found else ((), (), ())
        return np.array(starts, "int64"), np.array(ends, "int64"), np.array(weights, "float64")


def _parse(line: str) -> tuple[str, float]:
    word, comma, number = (part.strip() for part in line.rpartition(","))
    multiplier = _number(number) if comma else None
    if multiplier is not None:
        if not word:
            raise ValueError(f"expected {_FORMATS}. Received: no word before the comma.")
        return word, NEVER if multiplier <= 0 else math.log(multiplier)
    found = _JIEBA.fullmatch(line.strip())
    if found and (found["frequency"] or not comma):
        return found["word"], NEVER if found["frequency"] and int(found["frequency"]) == 0 else JIEBA_WEIGHT
    received = f"{number!r} behind the comma" if comma else repr(line)
    raise ValueError(f"expected {_FORMATS}. Received: {received}.")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
