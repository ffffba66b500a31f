"""Lexical search: which texts share characters and pairs of characters with a query (BM25 or TF-IDF). NumPy alone.

Legend: N texts, P postings (a term in a text), V terms.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from nlptasks.text.characters import normalize
from nlptasks.text.units import code_points

K1, B = 1.2, 0.75
_SHIFT = 21  # a code point has 21 bits
_SPACE = 1 << _SHIFT


def text_terms(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The terms of texts: single characters and pairs of neighbors, after `normalize`.

    Returns:
        int64 keys, and the number of the text that each stands in, ascending.
    """
    texts = [normalize(text) for text in texts]
    codes = code_points("".join(texts)).astype("int64")
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    inside = owners[1:] == owners[:-1]
    pairs = (codes[:-1][inside] + 1) * _SPACE + codes[1:][inside]
    keys, owners = np.concatenate([codes, pairs]), np.concatenate([owners, owners[:-1][inside]])
    order = np.argsort(owners, kind="stable")
    return keys[order], owners[order]


class LexicalIndex:
    """Texts by the terms they hold.

    Attributes:
        terms: int64 (V,), sorted.
        starts: int64 (V + 1,), where the postings of each term start.
        texts: int32 (P,), the texts that hold it, ascending.
        counts: uint8 (P,), how often, 255 at most.
        lengths: int32 (N,), terms of each text.
    """

    ARRAYS = ("terms", "starts", "texts", "counts", "lengths")

    terms: np.ndarray
    starts: np.ndarray
    texts: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray

    def __init__(self, **arrays: np.ndarray):
        for name in self.ARRAYS:
            setattr(self, name, arrays[name])

    @classmethod
    def build(cls, texts: Sequence[str]) -> "LexicalIndex":
        """The index of texts."""
        keys, owners = text_terms(texts)
        terms, ids = np.unique(keys, return_inverse=True)
        places, counts = np.unique(ids * max(1, len(texts)) + owners, return_counts=True)
        of_term, text = np.divmod(places, max(1, len(texts)))
        return cls(
            terms=terms,
            starts=np.searchsorted(of_term, np.arange(len(terms) + 1)),
            texts=text.astype("int32"),
            counts=counts.clip(max=255).astype("uint8"),
            lengths=np.bincount(owners, minlength=len(texts)).astype("int32"),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def arrays(self) -> dict[str, np.ndarray]:
        """What makes it again."""
        return {name: getattr(self, name) for name in self.ARRAYS}

    def joined(self, other: "LexicalIndex") -> "LexicalIndex":
        """The index of the texts of both, the other's behind."""
        terms = np.union1d(self.terms, other.terms)
        of_term = np.concatenate(
            [np.searchsorted(terms, part.terms).repeat(np.diff(part.starts)) for part in (self, other)]
        )
        order = np.argsort(of_term, kind="stable")
        texts = np.concatenate([self.texts, other.texts + np.int32(len(self))])
        return LexicalIndex(
            terms=terms,
            starts=np.searchsorted(of_term[order], np.arange(len(terms) + 1)),
            texts=texts[order],
            counts=np.concatenate([self.counts, other.counts])[order],
            lengths=np.concatenate([self.lengths, other.lengths]),
        )

    def without(self, numbers: np.ndarray) -> "LexicalIndex":
        """The index of the other texts, in their order.

        Args:
            numbers: of the texts to leave out.
        """
        stays_N = np.ones(len(self), bool)
        stays_N[numbers] = False
        stays_P = stays_N[self.texts]
        of_term = np.repeat(np.arange(len(self.terms)), np.diff(self.starts))[stays_P]
        left, of_term = np.unique(of_term, return_inverse=True)
        number_N = np.cumsum(stays_N) - 1
        return LexicalIndex(
            terms=self.terms[left],
            starts=np.searchsorted(of_term, np.arange(len(left) + 1)),
            texts=number_N[self.texts[stays_P]].astype("int32"),
            counts=self.counts[stays_P],
            lengths=self.lengths[stays_N],
        )

    def bm25(self, query: str, relative: bool = True) -> np.ndarray:
        """BM25 scores `(N,)` float32 (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75).

        Args:
            relative: divided by what a text of mean length that is just the query would score, so that about 0 to 1.
        """
        scores, own = np.zeros(len(self), "float32"), 0.0
        if not len(self):
            return scores
        mean = max(float(self.lengths.mean()), 1.0)
        for weight, count, postings in self._query(query):
            texts = self.texts[postings]
            times = self.counts[postings].astype("float32")
            room = K1 * (1 - B + B * self.lengths[texts] / mean)
            scores[texts] += count * weight * times * (K1 + 1) / (times + room)
            own += count * weight * count * (K1 + 1) / (count + K1)
        return scores / own if relative and own else scores

    def _query(self, query: str) -> Iterator[tuple[float, int, slice]]:
        """(idf, count in the query, slice of postings) of its terms; a term that no text holds has an empty slice."""
        keys, counts = np.unique(text_terms([query])[0], return_counts=True)
        at = np.searchsorted(self.terms, keys).clip(max=max(0, len(self.terms) - 1))
        for key, count, place in zip(keys.tolist(), counts.tolist(), at.tolist(), strict=True):
            known = len(self.terms) and self.terms[place] == key
            postings = slice(int(self.starts[place]), int(self.starts[place + 1])) if known else slice(0, 0)
            frequency = postings.stop - postings.start
            yield float(np.log1p((len(self) - frequency + 0.5) / (frequency + 0.5))), count, postings

    def tfidf(self) -> "TfIdf":
        """Cosine scores of the same texts."""
        return TfIdf(self)


class TfIdf:
    """Cosines of TF-IDF vectors: (1 + log count) x (1 + log((1 + N) / (1 + texts with the term)))."""

    def __init__(self, index: LexicalIndex):
        self._index = index
        frequency = np.diff(index.starts)
        self._idf = (1 + np.log((1 + len(index)) / (1 + frequency))).astype("float32")
        self._weights = (1 + np.log(index.counts.astype("float32"))) * self._idf.repeat(frequency)
        norms = np.sqrt(np.bincount(index.texts, self._weights**2, len(index)))
        self._weights /= np.maximum(norms, 1e-9)[index.texts].astype("float32")

    def scores(self, query: str) -> np.ndarray:
        """Cosines `(N,)` float32 of the query with each text."""
        index = self._index
        found = np.zeros(len(index), "float32")
        keys, counts = np.unique(text_terms([query])[0], return_counts=True)
        weights = 1 + np.log(counts)
        at = np.searchsorted(index.terms, keys).clip(max=max(0, len(index.terms) - 1))
        known = index.terms[at] == keys if len(index.terms) else np.zeros(len(keys), bool)
        unseen = 1 + np.log(1.0 + len(index))
        norm = np.sqrt(((weights * np.where(known, self._idf[at] if len(index.terms) else 0, unseen)) ** 2).sum())
        for place, weight in zip(at[known].tolist(), weights[known].tolist(), strict=True):
            postings = slice(int(index.starts[place]), int(index.starts[place + 1]))
            found[index.texts[postings]] += weight * self._idf[place] * self._weights[postings]
        return found / norm if norm else found
