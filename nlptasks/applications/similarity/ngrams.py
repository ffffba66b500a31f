"""Characters and runs of two to four characters as rows of one table. Imports no backend.

Legend: N texts, P characters of all texts, O orders of runs: 1 to ORDERS characters.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from nlptasks.text.characters import normalize
from nlptasks.text.units import code_points

ORDERS = 4
"""the most characters of a run"""
BUCKETS = 128
"""rows that characters outside the vocabulary share, by their code, so that they do not all look alike"""
_BITS = 14
MOST_CHARACTERS = 2**_BITS - 1
"""characters that a vocabulary may hold: four of their numbers make one of 56 bits"""


class NgramVocab:
    """Numbers of characters and of runs of characters.

        vocab = NgramVocab.build(["密码错了", "密码忘了"], characters=10, ngrams=1)
        rows_PO, lengths = vocab.rows(["密码"])
        rows_PO.shape, lengths.tolist()  # (2, 4), [2]

    Args:
        characters: those that have a row of their own.
        keys: int64, ascending: the runs, as `keys_of` numbers them.

    Raises:
        ValueError: a character twice, too many of them, or keys that do not ascend.
    """

    def __init__(self, characters: Sequence[str], keys: np.ndarray) -> None:
        characters = list(characters)
        if len(characters) > MOST_CHARACTERS or len(set(characters)) < len(characters):
            raise ValueError(
                f"a vocabulary holds at most {MOST_CHARACTERS} characters, each once. Received: {len(characters)}."
            )
        keys = np.asarray(keys, "int64")
        if keys.ndim != 1 or (np.diff(keys) <= 0).any():
            raise ValueError("the keys of runs must ascend; copy the model again.")
        self.characters, self.keys = characters, keys
        self._table = np.zeros(0x110000, "int32")
        if characters:
            self._table[[ord(c) for c in characters]] = np.arange(1, len(characters) + 1)
        self._padded = np.append(keys, np.iinfo("int64").max)

    def __len__(self) -> int:
        """Rows of the table."""
        return BUCKETS + len(self.characters) + len(self.keys)

    @classmethod
    def build(cls, texts: Iterable[str], characters: int, ngrams: int, min_count: int = 2) -> "NgramVocab":
        """The most frequent characters and runs, at most so many of each."""
        texts = [normalize(text) for text in texts]
        counts = Counter("".join(texts))
        # half a surrogate pair stands in no file
        often = (c for c, n in counts.items() if n >= min_count and not "\ud800" <= c <= "\udfff")
        kept = sorted(often, key=lambda c: (-counts[c], c))
        vocab = cls(kept[: min(characters, MOST_CHARACTERS)], np.zeros(0, "int64"))
        codes, lengths = _codes(texts)
        keys_PO = vocab.keys_of(codes, lengths)
        found, times = [], []
        for order in range(1, ORDERS):
            keys, number = np.unique(keys_PO[:, order], return_counts=True)
            enough = (number >= min_count) & (keys > 0)
            found.append(keys[enough])
            times.append(number[enough])
        keys, number = np.concatenate(found), np.concatenate(times)
        best = np.lexsort([keys, -number])[:ngrams]
        return cls(vocab.characters, np.sort(keys[best]))

    def keys_of(self, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The number of the run of each order that ends at each character.

        Args:
            codes: int (P,), the code points of all texts.
            lengths: of the texts, each at least 1.

        Returns:
            int64 (P, O); 0 where a run would begin before its text or holds a character outside the vocabulary. A run's
            number has 14 bits for each character, and characters count from 1: no two runs share one.
        """
        own = self._table.take(codes).astype("int64")
        places = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        keys_PO = np.zeros((len(codes), ORDERS), "int64")
        keys_PO[:, 0] = own
        for order in range(1, ORDERS):
            before = np.append(0, keys_PO[:-1, order - 1])
            whole = (before > 0) & (own > 0) & (places >= order)
            keys_PO[:, order] = np.where(whole, before << _BITS | own, 0)
        return keys_PO

    def rows(self, texts: Sequence[str], limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the table that a text is made of.

        Args:
            texts: N of them; one without a character counts as one unknown character.
            limit: characters that are read of a text.

        Returns:
            int32 (P, O), the row of the run of each order that ends at each character, -1 where there is none (the
            character's own is always there); and int64 (N,), the characters of each text.
        """
        codes, lengths = _codes([normalize(text)[:limit] for text in texts])
        keys_PO = self.keys_of(codes, lengths)
        rows_PO = np.full(keys_PO.shape, -1, "int32")
        own = keys_PO[:, 0]
        rows_PO[:, 0] = np.where(own > 0, own + (BUCKETS - 1), codes % BUCKETS)
        runs = keys_PO[:, 1:]
        places = np.searchsorted(self.keys, runs)
        found = self._padded.take(places) == runs
        rows_PO[:, 1:][found] = places[found] + (BUCKETS + len(self.characters))
        return rows_PO, lengths


def _codes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The code points of all texts, and the length of each."""
    texts = [text or "\x00" for text in texts]
    lengths = np.fromiter(map(len, texts), "int64", len(texts))
    return code_points("".join(texts)), lengths
