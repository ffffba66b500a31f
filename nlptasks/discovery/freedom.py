"""Branching entropy: how freely the characters before and behind a word vary, wherever it occurs in the text."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nlptasks.discovery.characters import columns_of, keys_of, packed
from nlptasks.discovery.counting import count_keys
from nlptasks.discovery.lexicon import Lexicon, WordsOfLength
from nlptasks.discovery.passes import Corpus, Numbers, StrongPairs

SIDES = ("left", "right")


@dataclass(frozen=True)
class Targets:
    """Words whose neighbors are counted: for each length the words, their first pairs as bits, and the first number."""

    lengths: tuple[tuple[WordsOfLength, StrongPairs, int], ...]

    @classmethod
    def of(cls, lexicon: Lexicon) -> "Targets":
        """All words of two characters and more, numbered in the order of their lengths."""
        found, first = [], 0
        for length, words in sorted(lexicon.items()):
            if length > 1 and words.keys.shape[1]:
                found.append((words, StrongPairs.of(np.unique(words.keys[0] >> np.uint64(32))), first))
                first += words.keys.shape[1]
        return cls(tuple(found))


def count_neighbors(targets: Targets, parts: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray] | Numbers]:
    """Third reading: runs of the neighbors of words, keys `word << 16 | neighbor`, whatever the neighbor is."""
    for units in parts:
        quads = packed(units)
        found, before, behind = [], [], []
        for words, pairs, first in targets.lengths:
            starts = np.flatnonzero(pairs.contain(units[: max(2, len(units) - words.length + 1)]))
            keys = keys_of(quads, starts, np.full(len(starts), words.length), columns_of(words.length))
            places = words.find(keys)
            starts, places = starts[places >= 0], places[places >= 0]
            found.append((places + first).astype("uint64") << np.uint64(16))
            before.append(units[starts - 1])  # line ends stand at both ends of the chunk
            behind.append(units[starts + words.length])
        numbers = np.concatenate(found) if found else np.zeros(0, "uint64")
        for side, neighbors in zip(SIDES, (before, behind), strict=True):
            yield side, count_keys(numbers | np.concatenate(neighbors)) if found else np.zeros((2, 0), "uint64")
    yield {"done": 1}


def freedom(corpus: Corpus, lexicon: Lexicon) -> dict[int, np.ndarray]:
    """For each length the entropies, in nats, of what stands before and behind each word: (2, words)."""
    targets = Targets.of(lexicon)
    _, runs = corpus.read("neighbors", functools.partial(count_neighbors, targets))
    size = sum(words.keys.shape[1] for words, _, _ in targets.lengths)
    entropies = []
    for side in SIDES:
        counts, products = np.zeros(size), np.zeros(size)
        for run in runs(side):
            of, many = (run[0] >> np.uint64(16)).astype("int64"), run[1].astype("float64")
            counts += np.bincount(of, many, size)
            products += np.bincount(of, many * np.log(many), size)
        seen = np.maximum(counts, 1)
        entropies.append(np.maximum(np.log(seen) - products / seen, 0))
    both = np.stack(entropies)
    return {words.length: both[:, first : first + words.keys.shape[1]] for words, _, first in targets.lengths}
