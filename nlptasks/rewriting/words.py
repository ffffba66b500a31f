"""The words that a chain may put in, by the number of their tokens, and texts of words. NumPy alone."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nlptasks.files import read_lines
from nlptasks.rewriting.moves import State

BUNDLED = Path(__file__).with_name("words.txt")
SHARES = {1: 0.35, 2: 0.5, 3: 0.1, 4: 0.05}
"""how often a word of so many tokens is tried; a longer one as `RARE`"""
RARE = 0.02
Tokenize = Callable[[str], Sequence[int]]


def joined(words: Iterable[str]) -> str:
    """The text of words: a space between two that end and begin with a letter or digit of Latin kind.

    joined(["我", "用", "iPhone", "15"])  # '我用iPhone 15'
    """
    text = ""
    for word in words:
        if text and word and _latin(text[-1]) and _latin(word[0]):
            text += " "
        text += word
    return text


def _latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


class Lexicon:
    """Words with their tokens, in arrays by the number of tokens.

    Args:
        words: each once; those without a token are left out.
        tokenize: a word to its token ids.

    Attributes:
        words: number of tokens -> the words of so many tokens.
        ids: number of tokens -> their token ids, int32 (words, tokens).
    """

    def __init__(self, words: Iterable[str], tokenize: Tokenize) -> None:
        self.words: dict[int, list[str]] = {}
        self.places: dict[str, tuple[int, int]] = {}
        rows: dict[int, list[Sequence[int]]] = {}
        for word in dict.fromkeys(words):
            ids = tokenize(word)
            if len(ids):
                self.places[word] = (len(ids), len(self.words.setdefault(len(ids), [])))
                self.words[len(ids)].append(word)
                rows.setdefault(len(ids), []).append(ids)
        self.ids: Mapping[int, np.ndarray] = {length: np.array(each, "int32") for length, each in rows.items()}

    def __contains__(self, word: str) -> bool:
        return word in self.places


class Vocabulary:
    """The words of one text's chains: those of everybody, and its own.

    Args:
        common: everybody's.
        own: the words of the text, so that what is taken out can come back.
        tokenize: as `Lexicon` takes it.
    """

    def __init__(self, common: Lexicon, own: State, tokenize: Tokenize) -> None:
        self.common, self.own = common, Lexicon((word for word in own if word not in common), tokenize)
        shares = {length: SHARES.get(length, RARE) for length in {*common.words, *self.own.words}}
        total = sum(shares.values())
        self.shares = {length: share / total for length, share in sorted(shares.items())}

    def length_of(self, word: str) -> int:
        """How many tokens a word has."""
        return (self.common.places.get(word) or self.own.places[word])[0]

    def drawn_length(self, uniform: float) -> int:
        """How many tokens the next word shall have."""
        total = 0.0
        for length, share in self.shares.items():
            total += share
            if uniform < total:
                return length
        return length

    def logs(self, length: int, logs_MV: np.ndarray) -> np.ndarray:
        """Log probabilities of the common words of a length, and then of the own ones, given that length.

        Args:
            logs_MV: log probabilities of all tokens at each of M = `length` masks.
        """
        tables = [each.ids[length] for each in (self.common, self.own) if length in each.ids]
        found = np.concatenate([logs_MV[np.arange(length), table].sum(axis=1) for table in tables])
        highest = found.max()
        return found - highest - np.log(np.exp(found - highest).sum())

    def word_at(self, length: int, row: int) -> str:
        """The word of a row of `logs`."""
        common = self.common.words.get(length, [])
        return common[row] if row < len(common) else self.own.words[length][row - len(common)]

    def row_of(self, word: str) -> int:
        """The row of a word in `logs` of its length."""
        if (place := self.common.places.get(word)) is not None:
            return place[1]
        length, row = self.own.places[word]
        return row + len(self.common.words.get(length, []))


@functools.cache
def bundled_words() -> tuple[str, ...]:
    """The frequent words that come with the package, the most frequent first."""
    return tuple(line for _, line in read_lines(BUNDLED))
