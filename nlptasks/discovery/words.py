"""Words by minimum entropy: what raw text says of its own words, as nlp-zero of Su Jianlin finds them.

Neighboring characters whose pointwise mutual information is small are cut apart; the fragments between the cuts are
counted and rare ones dropped; then, longest first, a fragment that is no likelier than its parts gives its count to
them (kexue.fm/archives/5476 and 5597).
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlptasks.discovery.characters import DIGITS, columns_of, spell, unpack, word_kinds
from nlptasks.discovery.freedom import freedom
from nlptasks.discovery.lexicon import Lexicon, by_length, delete_redundant
from nlptasks.discovery.passes import Corpus, StrongPairs, count_fragments, count_pairs
from nlptasks.errors import UserError
from nlptasks.train.options import Options, require_at_least, require_share


@dataclass(kw_only=True)
class WordRules(Options):
    """What counts as a word."""

    min_count: int = 5
    """leave out pairs of characters and words that occur less often"""
    min_probability: float = 1e-7
    """the same, as a share of all pairs and of all fragments; the higher of both bounds holds"""
    min_information: float = 1.0
    """cut between characters whose pointwise mutual information, in nats, is not above this"""
    min_length: int = 2
    """leave out shorter words from the result"""
    max_length: int = 16
    """the longest word; longer fragments are not counted"""
    freedom: bool = False
    """also score how freely the neighbors of a word vary: the entropy, in nats, on its less free side"""
    min_freedom: float = 0.0
    """leave out words that are less free; needs freedom"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "min_count", "min_length", "max_length")
        require_at_least(self, 0, "min_freedom")
        require_share(self, "min_probability")
        if not math.isfinite(self.min_information):
            raise UserError("{field:min_information} must be a number. Received: {value}.", value=self.min_information)
        if self.max_length < self.min_length:
            raise UserError(
                "{field:max_length} must be at least {field:min_length}. Received: {longest} and {shortest}.",
                longest=self.max_length,
                shortest=self.min_length,
            )
        if self.min_freedom and not self.freedom:
            raise UserError("{field:min_freedom} goes with {field:freedom}.")


class Word(NamedTuple):
    """A word that was found.

    Attributes:
        word: the word.
        frequency: how often it was cut out, with what longer words gave it.
        score: log-probability above that of its most probable parts, in nats; 0 for one character, infinite
            for a run of letters, which has no parts.
        freedom: entropy of its neighbors, in nats, on the less free side; None if that was not asked for.
    """

    word: str
    frequency: int
    score: float
    freedom: float | None = None


def discover(corpus: Corpus, rules: WordRules | None = None) -> list[Word]:
    """The words of a corpus, the most frequent first.

    Raises:
        UserError: the text has no two neighboring characters that could form a word.
    """
    rules = rules or WordRules()
    lexicon = _candidates(corpus, _strong_pairs(corpus, rules), rules)
    delete_redundant(lexicon)
    entropies = freedom(corpus, lexicon) if rules.freedom else {}
    found: list[Word] = []
    for length, words in lexicon.items():
        if length >= rules.min_length:
            kept = (word_kinds()[unpack(words.keys)[:, :length]] != DIGITS).any(axis=1)
            columns = [spell(words.keys[:, kept], length), words.counts[kept].tolist(), words.scores[kept].tolist()]
            if length in entropies:
                columns.append(entropies[length].min(axis=0)[kept].tolist())
            found += map(Word, *columns)
    if rules.min_freedom:
        found = [word for word in found if (word.freedom or 0) >= rules.min_freedom]
    return sorted(found, key=lambda word: (-word.frequency, word.word))


def _strong_pairs(corpus: Corpus, rules: WordRules) -> StrongPairs:
    """First reading: the pairs that are not cut."""
    numbers, runs = corpus.read("pairs", count_pairs)
    if not numbers["pairs"]:
        raise UserError("the text has no two neighboring characters of words (ideographs, letters, digits).")
    characters = np.ones(0x10000)
    for run in runs("characters"):
        characters[run[0].astype("int64")] = run[1]
    log_probability = np.log(characters) - math.log(numbers["characters"])
    least = max(rules.min_count, rules.min_probability * numbers["pairs"])
    kept = []
    for run in runs("pairs"):
        keys, counts = run[0][run[1] >= least], run[1][run[1] >= least].astype("float64")
        first, second = (keys >> np.uint64(16)).astype("int64"), (keys & np.uint64(0xFFFF)).astype("int64")
        joint = np.log(counts) - math.log(numbers["pairs"])
        kept.append(keys[joint - log_probability[first] - log_probability[second] > rules.min_information])
    return StrongPairs.of(np.concatenate(kept))


def _candidates(corpus: Corpus, strong: StrongPairs, rules: WordRules) -> Lexicon:
    """Second reading: the fragments that are frequent enough."""
    count = functools.partial(count_fragments, strong, rules.max_length)
    numbers, runs = corpus.read("fragments", count)
    least = max(rules.min_count, rules.min_probability * numbers["fragments"])
    lexicon: Lexicon = {}
    for columns in range(1, columns_of(rules.max_length) + 1):
        frequent = [run[:, run[-1] >= least] for run in runs(str(columns))]
        if frequent:
            rows = np.concatenate(frequent, axis=1)
            lexicon |= by_length(rows[:-1], rows[-1].astype("int64"))
    return lexicon


def as_dictionary(words: list[Word], multiplier: float) -> Iterator[str]:
    """The lines of a user dictionary for `nlptasks segment --user-dict`."""
    for word in words:
        yield f"{word.word},{multiplier:g}"


def as_table(words: list[Word]) -> Iterator[str]:
    """Lines `word TAB frequency TAB score`, with the freedom as a fourth column where it is known."""
    for word in words:
        free = [] if word.freedom is None else [f"{word.freedom:.3f}"]
        yield "\t".join([word.word, str(word.frequency), f"{word.score:.3f}", *free])
