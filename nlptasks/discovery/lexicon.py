"""Words of one length after another: finding them among many strings, and deleting those that their parts explain."""

from dataclasses import dataclass

import numpy as np

from nlptasks.discovery.characters import DIGITS, LETTERS, columns_of, keys_of, packed, unpack, word_kinds

UNKNOWN = 0.0
"""log count of a character that is no word"""


@dataclass
class WordsOfLength:
    """All words of some length, in order.

    Attributes:
        length: characters of each.
        keys: uint64 (columns, words), see `characters`.
        counts: int64.
        scores: log-probability of each above that of its most probable parts; 0 for one character.
    """

    length: int
    keys: np.ndarray
    counts: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        # each column is the rank of what stands there among all, joined to the rank of what is before
        self._tables: list[np.ndarray] = [np.unique(self.keys[0])]
        ranks = np.searchsorted(self._tables[0], self.keys[0]).astype("uint64")
        for column in self.keys[1:]:
            values = np.unique(column)
            joint = (ranks << np.uint64(32)) | np.searchsorted(values, column).astype("uint64")
            self._tables += [values, np.unique(joint)]
            ranks = np.searchsorted(self._tables[-1], joint).astype("uint64")

    def find(self, keys: list[np.ndarray]) -> np.ndarray:
        """The place of each packed string among the words, -1 where it is none."""
        known = np.ones(len(keys[0]), bool)
        ranks = _search(self._tables[0], keys[0], known)
        for column, values, joints in zip(keys[1:], self._tables[1::2], self._tables[2::2], strict=True):
            rank = _search(values, column, known)
            ranks = _search(joints, (ranks << np.uint64(32)) | rank, known)
        return np.where(known, ranks.astype("int64"), -1)

    def keep(self, kept: np.ndarray) -> "WordsOfLength":
        """Some of the words."""
        return WordsOfLength(self.length, self.keys[:, kept], self.counts[kept], self.scores[kept])


def _search(table: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The places of `wanted` in a sorted table; where it is not there, `known` becomes false."""
    if not len(table):
        known[:] = False
        return np.zeros(len(wanted), "uint64")
    places = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    known &= table[places] == wanted
    return places.astype("uint64")


Lexicon = dict[int, WordsOfLength]
"""by length"""


def by_length(keys: np.ndarray, counts: np.ndarray) -> Lexicon:
    """A lexicon of the words of one class: keys (columns, words) in order, and their counts."""
    lengths = (unpack(keys) > 0).sum(axis=1)
    found = {}
    for length in np.unique(lengths).tolist():
        these = lengths == length
        of_length = keys[: columns_of(length), these]
        found[length] = WordsOfLength(length, of_length, counts[these], np.zeros(int(these.sum())))
    return found


def delete_redundant(lexicon: Lexicon) -> None:
    """Deletes words that are no likelier than their parts, longest first; their counts go to the parts.

    A word of n characters stays if its probability is at least exp(n - 1) times that of its most probable division into
    shorter words; nowhere is a run of letters or of digits divided. Words of one length are judged by the same counts.
    """
    for length in sorted(lexicon, reverse=True):
        if length > 1:
            total = sum(int(words.counts.sum()) for words in lexicon.values())
            lexicon[length] = _judge(lexicon, lexicon[length], np.log(total))


def _judge(lexicon: Lexicon, words: WordsOfLength, log_total: float) -> WordsOfLength:
    length, count = words.length, words.keys.shape[1]
    units = unpack(words.keys)[:, :length]
    kinds = word_kinds()[units]
    within = np.zeros((count, length + 1), bool)  # places that are no end of a part
    within[:, 1:length] = (kinds[:, 1:] == kinds[:, :-1]) & ((kinds[:, 1:] == LETTERS) | (kinds[:, 1:] == DIGITS))
    best = np.full((count, length + 1), -np.inf)
    best[:, 0] = 0
    back = np.zeros((count, length + 1), "int64")
    quads = packed(np.append(units.ravel(), np.zeros(4, "uint16")))
    rows = np.arange(count) * length
    for end in range(1, length + 1):
        for start in range(end):
            size = end - start
            if size == length:
                continue
            score = best[:, start] + _log_counts(lexicon, quads, rows + start, size) - log_total
            better = (score > best[:, end]) & ~within[:, end] & ~within[:, start]
            best[better, end], back[better, end] = score[better], start
    words.scores = np.log(words.counts) - log_total - best[:, length]
    redundant = words.scores < length - 1
    _give(lexicon, quads, rows[redundant], back[redundant], words.counts[redundant], length)
    return words.keep(~redundant)


def _log_counts(lexicon: Lexicon, quads: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """The logarithm of the count of each string; -inf where it is no word, or UNKNOWN if it is one character."""
    found = np.full(len(starts), UNKNOWN if size == 1 else -np.inf)
    if size in lexicon:
        words = lexicon[size]
        places = words.find(keys_of(quads, starts, np.full(len(starts), size), columns_of(size)))
        known = places >= 0
        found[known] = np.log(words.counts[places[known]])
    return found


def _give(
    lexicon: Lexicon, quads: np.ndarray, rows: np.ndarray, back: np.ndarray, counts: np.ndarray, length: int
) -> None:
    """Adds the counts of words to their parts."""
    ends = np.full(len(rows), length)
    while len(ends):
        starts = back[np.arange(len(ends)), ends]
        for size in np.unique(ends - starts).tolist():
            these = ends - starts == size
            words = lexicon.get(size)
            if words is not None:
                at = rows[these] + starts[these]
                places = words.find(keys_of(quads, at, np.full(len(at), size), columns_of(size)))
                np.add.at(words.counts, places[places >= 0], counts[these][places >= 0])
        more = starts > 0
        rows, back, counts, ends = rows[more], back[more], counts[more], starts[more]
