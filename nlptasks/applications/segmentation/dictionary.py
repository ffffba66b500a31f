"""User dictionaries: words with log weights, found in a text by an Aho-Corasick automaton, overlapping ones too."""

import math
import re
from collections.abc import Mapping

import ahocorasick
import numpy as np

from nlptasks.files import PathLike, read_lines
from nlptasks.text.units import LINE_ENDS

ALWAYS, NEVER = math.inf, -math.inf
JIEBA_WEIGHT = 10.0
"""log weight, a unit, of a word of jieba's format: it comes out but in the strangest surroundings"""
_JIEBA = re.compile(r"(?P<word>\S+|.+?(?=\s+\d))(?:\s+(?P<frequency>\d+))?(?:\s+[A-Za-z]+)?")
"""white space may stand in a word where a frequency tells its end"""
_FORMATS = "`word,multiplier`, or jieba's `word`, `word frequency`, `word tag` or `word frequency tag`"


class UserDictionary:
    """Literal words and their log weights.

    A word's weight is added to the score of its tags wherever it stands: s where it is one unit, else b, m, ..., e.
    `ALWAYS` cuts it out wherever it overlaps no other such word; `NEVER` forbids it.

    Args:
        words: log weight by word.

    Raises:
        ValueError: a word is empty or holds a line end, or a weight is not a number.
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
        """Log weight by word, a copy."""
        return dict(self._words)

    def add(self, word: str, weight: float = JIEBA_WEIGHT) -> None:
        """Adds a word, or gives it another log weight."""
        if not word or any(char in LINE_ENDS for char in word):
            raise ValueError(f"a dictionary word must be some characters without a line end. Received: {word!r}.")
        if math.isnan(weight):
            raise ValueError(f"the weight of a dictionary word must be a number. Received: {word!r}, {weight}.")
        self._words[word] = float(weight)
        self._automaton = None

    @classmethod
    def from_file(cls, path: PathLike) -> "UserDictionary":
        """Reads a dictionary, one word a line, UTF-8, plain or gzip.

        A line is `word,multiplier` (the log of the multiplier is the weight: above 1 favors the word, below 1
        disfavors it, 0 or less forbids it, `inf` always cuts it out) or jieba's `word [frequency] [tag]` (frequency 0
        forbids it).

        Raises:
            FileNotFoundError, ValueError: one line that names file and line.
        """
        dictionary = cls()
        for line_number, line in read_lines(path):
            try:
                dictionary.add(*_parse(line))
            except ValueError as error:
                raise ValueError(f"{path}:{line_number}: {error}") from None
        return dictionary

    def find(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every occurrence in a text: starts, ends, weights."""
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
