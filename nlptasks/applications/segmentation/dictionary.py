"""User dictionaries: words with log weights, which an Aho-Corasick automaton finds in a text, overlapping or not."""

import math
import re
import threading
from collections.abc import Mapping
from typing import Any

import ahocorasick
import numpy as np

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_lines
from nlptasks.text.units import LINE_ENDS, OTHER, code_points, kind_table

ALWAYS, NEVER = math.inf, -math.inf
JIEBA_WEIGHT = 10.0
"""log weight per unit of a word in jieba's format; the word is cut out in all but the strangest contexts"""
JIEBA_SIGNS_WEIGHT = 100.0
"""the same of one with signs, spaces, letters or digits, which the network is surer to cut"""
_JIEBA = re.compile(r"(?P<word>.+?)(?:\s+(?P<frequency>[0-9]+))?(?:\s+(?:[a-z]+|[A-Z]g))?")
"""what jieba reads: a word, which may contain anything, and at the end of the line a frequency, a tag or both"""
_TAG = r"(?:\s+[a-z]+)?"
_NOT_MEANT = (
    re.compile(rf".*[^\x00-\x7f]\s+(?:[0-9]*\.[0-9]+|[+-][0-9.]+|[+-]?[0-9.]+[eE][+-]?[0-9]+){_TAG}"),
    re.compile(rf".*\s[\uff10-\uff19]+{_TAG}"),
    re.compile(r".*\s[0-9]+(?:(?:\s+[a-z]+){2,}|\s+[a-z]+[0-9]+)"),
    re.compile(rf".*\s[,，]\s+[0-9]+{_TAG}"),
    re.compile(r"[\x21-\x7e]+\s+[a-z]{4,}(?<!\snrfg)"),
)
"""what has the form of a frequency or a tag and is none: behind a word a number with a sign, a point or an exponent;
full-width digits; two tags, or a number behind one; a comma before the frequency; and two English words, of which
jieba takes the second for a tag"""
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_GROUPED_BEHIND = re.compile(r".*[\s,][0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_LEADING_ZEROS = re.compile(r"0[0-9]+(?:\.[0-9]*)?")
_WIDE_COMMA = re.compile(r".*，\s*(?:[+-]?[0-9]+(?:\.[0-9]+)?|inf)\s*")
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
        self._lock = threading.Lock()  # between what changes the words and what builds the automaton of them
        for word, weight in (words or {}).items():
            self.add(word, weight)

    def __len__(self) -> int:
        return len(self._words)

    @property
    def words(self) -> dict[str, float]:
        """A copy of the words with their log weights."""
        return dict(self._words)

    def add(self, word: str, weight: float | None = None) -> None:
        """Adds a word, or changes its log weight; None: the weight of a word in jieba's format.

        Raises:
            ValueError: the word is empty or contains a line end, or the weight is not a number.
        """
        if not word or any(char in LINE_ENDS for char in word):
            raise ValueError(f"a dictionary word must be some characters without a line end. Received: {word!r}.")
        if weight is None:
            weight = (
                JIEBA_WEIGHT
                if (kind_table()[code_points(word)] == OTHER).all() and word.isalpha()
                else JIEBA_SIGNS_WEIGHT
            )
        if math.isnan(weight):
            raise ValueError(f"the weight of a dictionary word must be a number. Received: {word!r}, {weight}.")
        with self._lock:
            self._words[word] = float(weight)
            self._automaton = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_words": self.words}  # the automaton is a multiple of that, and quickly built

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_words"])  # type: ignore[misc]

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
                raise UserError("{path}:{line}: {error}", path=path, line=line_number, error=error) from None
        return dictionary

    def find(self, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns every occurrence in a text: starts, ends and weights, as arrays."""
        if not self._words:
            return np.zeros(0, "int64"), np.zeros(0, "int64"), np.zeros(0)
        automaton = self._automaton or self._build()
        found = [(last + 1 - length, last + 1, weight) for last, (length, weight) in automaton.iter(text)]
        starts, ends, weights = zip(*found, strict=True) if found else ((), (), ())
        return np.array(starts, "int64"), np.array(ends, "int64"), np.array(weights, "float64")

    def _build(self) -> ahocorasick.Automaton:
        """The automaton of the words, which other threads see only when it is finished."""
        with self._lock:
            if self._automaton is None:
                automaton = ahocorasick.Automaton()
                for word, weight in self._words.items():
                    automaton.add_word(word, (len(word), weight))
                automaton.make_automaton()
                self._automaton = automaton
            return self._automaton


def _parse(line: str) -> tuple[str, float | None]:
    line = line.replace("\ufeff", "").strip()  # of files that were joined
    if "\x00" in line:
        raise UserError("a zero byte stands in it; is the file UTF-16? Save it as UTF-8.")
    if _GROUPED.fullmatch(line):
        raise UserError(
            "{shown} is one number, or the word {word} with a multiplier. For the number write `{entry} 1`, to "
            "forbid the word `{word},0`.",
            shown=repr(line),
            entry=line,
            word=line.rpartition(",")[0],
        )
    if _WIDE_COMMA.fullmatch(line):
        raise UserError(
            "{shown} has a full-width comma before the multiplier; write `,`, or `{entry} 1` to take it all as a word.",
            shown=repr(line),
            entry=line,
        )
    word, comma, number = (part.strip() for part in line.rpartition(","))
    multiplier = _number(number) if comma and not _GROUPED_BEHIND.fullmatch(line) else None
    if multiplier is not None:
        if not word:
            raise ValueError(f"expected {_FORMATS}. Received: no word before the comma.")
        return word, NEVER if multiplier <= 0 else math.log(multiplier)
    found = None if any(form.fullmatch(line) for form in _NOT_MEANT) else _JIEBA.fullmatch(line)
    if found and (found["frequency"] or not comma):
        return found["word"], NEVER if found["frequency"] and not found["frequency"].strip("0") else None
    received = f"{number!r} behind the comma" if comma else repr(line)
    raise UserError(
        "expected {formats}. Received: {received}. To take `{word}` as a word, write `{word} 1`.",
        formats=_FORMATS,
        received=received,
        word=line,
    )


def _number(text: str) -> float | None:
    try:
        return None if "_" in text or _LEADING_ZEROS.fullmatch(text) else float(text)
    except ValueError:
        return None
