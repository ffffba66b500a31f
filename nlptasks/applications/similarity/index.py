"""Many sentences to search: vectors in a nearest-neighbor graph, and their characters for a lexical score.

The vectors lie in a usearch index (HNSW, arXiv 1603.09320; Apache-2.0): searched one by one where they are few, through
the graph where they are many. Without usearch they are always compared one by one.

Legend: N sentences, Q queries, D size of a vector, K sentences found.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlptasks.applications.similarity.index_files import IndexParts, read_index, write_index
from nlptasks.applications.similarity.vectors import ROWS, add_all, new_vectors, suffix_in, suffix_of
from nlptasks.errors import UserError
from nlptasks.text.lexical import LexicalIndex

EXACT_BELOW = 20_000
"""sentences up to which every vector is compared"""
CANDIDATES = 200
"""the best so many by vector and the best so many by words are scored both ways in a hybrid search"""
SLACK = 32
"""so many more than asked for are looked for in the graph; cosines are computed again, and equal ones put in order"""
_CLOSE = 1e-5
_QUERIES = 256


class Match(NamedTuple):
    """A sentence that was found.

    Attributes:
        text: the sentence.
        score: cosine, in [-1, 1]; in a hybrid search, the blend.
        position: its number in the order in which sentences were added, from 0; it stays when others are removed.
    """

    text: str
    score: float
    position: int


class SentenceIndex:
    """Sentences with their vectors, to be searched, added to and taken from. It can be pickled and copied. Threads may
    search at the same time, but not while one adds or removes.

    Args:
        vector_size: D.
        fingerprint: of the model whose vectors these are.
        threads: how many work when vectors are added or searched; 0: all cores.

    Attributes:
        texts: the sentences, in the order of adding.
        positions: int64 (N,), their numbers, ascending.
    """

    def __init__(self, vector_size: int, fingerprint: str, threads: int = 0) -> None:
        self.vector_size, self.fingerprint, self.threads = vector_size, fingerprint, threads
        self.texts: list[str] = []
        self.positions = np.zeros(0, "int64")
        self._next = 0
        self._vectors = new_vectors(vector_size)
        self._read_only: Path | None = None
        self._lexical = LexicalIndex.build([])
        self._pending: list[str] = []
        self._first: dict[str, int] | None = None
        self._dense: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __getstate__(self) -> dict[str, Any]:
        # usearch's index is written into bytes, as into a file
        if suffix_of(self._vectors) != ROWS:
            self._make_writable()
        state = self.__dict__ | {"_first": None, "_dense": None, "_read_only": None}
        state |= {"texts": list(self.texts), "_pending": list(self._pending)}  # a copy has its own
        of_graph = suffix_of(self._vectors) != ROWS
        state["_vectors"] = bytes(self._vectors.save()) if of_graph else copy.copy(self._vectors)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._vectors, bytes):
            stored = self._vectors
            self._vectors = new_vectors(self.vector_size)
            self._vectors.load(stored)

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Puts sentences behind those that are there; what is there stays as it is. All come in, or none.

        Raises:
            TypeError, ValueError: a sentence that is none, or not a vector a sentence.
        """
        texts = list(texts)
        check_sentences(texts)
        if vectors.shape != (len(texts), self.vector_size):
            raise ValueError(f"expected vectors of the shape {(len(texts), self.vector_size)}, got {vectors.shape}.")
        if not texts:
            return
        self._make_writable()
        keys = np.arange(self._next, self._next + len(texts), dtype="int64")
        add_all(self._vectors, keys.astype("uint64"), vectors.astype("float32"), self.threads)
        self._next += len(texts)
        self.texts += texts
        self.positions = np.concatenate([self.positions, keys])
        self._pending += texts
        self._dense = None
        if self._first is not None:
            for text, key in zip(texts, keys.tolist(), strict=True):
                self._first.setdefault(text, key)

    def remove(self, positions: Iterable[int]) -> None:
        """Takes sentences out by their positions; those of the others stay, and no later one gets such a number.

        Raises:
            UserError: one of them is not there; nothing is taken out.
        """
        keys = np.unique(np.fromiter(positions, "int64"))
        if len(missing := np.setdiff1d(keys, self.positions)):
            raise UserError("the index has no sentence at position {position}.", position=int(missing[0]))
        if not len(keys):
            return
        rows = np.searchsorted(self.positions, keys)
        lexical = self.lexical.without(rows)
        self._make_writable()
        self._vectors.remove(keys.astype("uint64"))
        self._lexical, self.positions = lexical, np.delete(self.positions, rows)
        gone = set(rows.tolist())
        self.texts = [text for row, text in enumerate(self.texts) if row not in gone]
        self._dense = self._first = None

    def take_back(self, position: int) -> None:
        """Takes out what was added from this position on, as if it had never been."""
        self.remove(self.positions[self.positions >= position])
        self._next = position

    @property
    def next_position(self) -> int:
        """The position of the next sentence."""
        return self._next

    def position_of(self, text: str) -> int | None:
        """The position of the first sentence that is equal to `text`, or None."""
        if self._first is None:
            first: dict[str, int] = {}
            for known, key in zip(self.texts, self.positions.tolist(), strict=True):
                first.setdefault(known, key)
            self._first = first
        return self._first.get(text)

    def vectors(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Vectors (K, D) of length 1 by their positions, float32, as the index holds them."""
        if not len(positions):
            return np.zeros((0, self.vector_size), "float32")
        rows = np.asarray(self._vectors.get(np.asarray(positions, "uint64")), "float32")
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    @property
    def lexical(self) -> LexicalIndex:
        """Which sentences hold which characters and pairs of characters."""
        if self._pending:
            self._lexical = self._lexical.joined(LexicalIndex.build(self._pending))
            self._pending = []
        return self._lexical

    def search(
        self,
        queries: Sequence[str],
        vectors: np.ndarray,
        top: int = 10,
        lexical_weight: float = 0.0,
        exact: bool | None = None,
    ) -> list[list[Match]]:
        """The best sentences for each query, the best first; equal scores in the order they were added.

        Args:
            queries: the texts; used where `lexical_weight` is not 0.
            vectors: theirs, (Q, D).
            top: how many, fewer where there are fewer.
            lexical_weight: score = (1 - weight) x cosine + weight x BM25 relative to the query's own.
            exact: compare every vector; None: up to EXACT_BELOW sentences. Through the graph, a few of the best may be
                missing, of equal ones, too.

        Raises:
            ValueError: `top` is below 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1. Received: {top=}.")
        if not len(self) or not len(queries):
            return [[] for _ in queries]
        positions, cosines = self.nearest(vectors, max(top, CANDIDATES) if lexical_weight else top, exact)
        found = []
        for query, vector, near, scores in zip(queries, vectors, positions, cosines, strict=True):
            if lexical_weight:
                near, scores = _ordered(*self._blend(query, vector, near, top, lexical_weight), top)
            rows = np.searchsorted(self.positions, near[:top])
            texts = (self.texts[row] for row in rows)
            found.append([Match(*one) for one in zip(texts, scores.tolist(), near[:top].tolist(), strict=False)])
        return found

    def nearest(self, vectors: np.ndarray, top: int, exact: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions (Q, K) of the nearest vectors and their cosines (Q, K), K the smaller of `top` and N; the nearest
        first, equal ones in the order they were added.
        """
        exact = len(self) <= EXACT_BELOW if exact is None else exact
        vectors, top = np.atleast_2d(vectors).astype("float32"), min(top, len(self))
        if exact and len(self) <= EXACT_BELOW:
            found = [
                one for i in range(0, len(vectors), _QUERIES) for one in self._compared(vectors[i : i + _QUERIES], top)
            ]
        else:
            most = min(top + SLACK, len(self))
            matches = self._vectors.search(vectors, most, threads=self.threads, exact=exact)
            if not exact and np.min(getattr(matches, "counts", len(matches.keys))) < most:
                return self.nearest(vectors, top, exact=True)  # a part of the graph was not reached
            keys_QK = np.asarray(matches.keys, "int64").reshape(len(vectors), -1)
            found = [_ordered(k, _cosines(self.vectors(k), v), top) for k, v in zip(keys_QK, vectors, strict=True)]
        return np.stack([keys for keys, _ in found]), np.stack([cosines for _, cosines in found])

    def _compared(self, vectors_QD: np.ndarray, top: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The nearest of each query, after every vector was compared."""
        if self._dense is None:
            self._dense = self.vectors(self.positions)
        about_QN = (
            vectors_QD @ self._dense.T
        )  # a product's last bits depend on the place: equal ones are computed again
        least_Q = np.partition(about_QN, -top, axis=1)[:, -top] - _CLOSE
        found = []
        for vector, about, least in zip(vectors_QD, about_QN, least_Q, strict=True):
            rows = np.flatnonzero(about >= least)
            found.append(_ordered(self.positions[rows], _cosines(self._dense[rows], vector), top))
        return found

    def _blend(
        self, query: str, vector: np.ndarray, near: np.ndarray, top: int, weight: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of both kinds and their blended scores."""
        words = self.lexical.bm25(query)
        count = min(max(top, CANDIDATES), len(words))
        least = np.partition(words, -count)[-count]
        above, equal = np.flatnonzero(words > least), np.flatnonzero(words == least)
        best = np.concatenate([above, equal[: count - len(above)]])
        rows = np.union1d(np.searchsorted(self.positions, near), best)
        cosines = _cosines(self.vectors(self.positions[rows]), vector)
        return self.positions[rows], (1 - weight) * cosines + weight * words[rows]

    def _make_writable(self) -> None:
        """Reads into memory what is memory-mapped, and cannot change."""
        if self._read_only is not None:
            suffix = suffix_in(self._read_only)
            vectors = new_vectors(self.vector_size, suffix)
            try:
                vectors.load(str(self._read_only))
            except (OSError, RuntimeError, ValueError):
                raise UserError(
                    "{path}: the vectors of the open index are gone; another program has saved it since. Open it "
                    "again.",
                    path=self._read_only,
                ) from None
            if suffix == ROWS:
                vectors.keys = self._vectors.keys
            self._vectors, self._read_only = vectors, None

    def save(self, directory: str | Path) -> None:
        """Writes the index; one that stands there stays whole until the header, the last file, names the new files.

        Only the files that the former header names are removed, and none of another name is written over.

        Raises:
            UserError: the folder holds an `index.json` of something else.
        """
        parts = IndexParts(
            self._vectors, self.texts, self.lexical, self.positions, self._next, self.vector_size, self.fingerprint
        )
        vectors = write_index(Path(directory), parts)
        if self._read_only is not None:
            self._read_only = vectors

    @classmethod
    def open(cls, directory: str | Path, fingerprint: str | None = None, threads: int = 0) -> "SentenceIndex":
        """The index that `save` wrote; vectors are memory-mapped until something is added or removed.

        Args:
            fingerprint: of the model that will search; None: any.

        Raises:
            ValueError, FileNotFoundError: one line; another model made it, or it is damaged.
        """
        parts, vectors = read_index(Path(directory), fingerprint)
        index = cls(parts.vector_size, parts.fingerprint, threads)
        index._vectors, index.texts, index._lexical = parts.vectors, list(parts.texts), parts.lexical
        index.positions, index._next, index._read_only = parts.positions, parts.next_position, vectors
        return index


def check_sentences(texts: Sequence[str]) -> None:
    """Refuses a list in which something cannot stand in an index.

    Raises:
        TypeError, ValueError: names the first one.
    """
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{number}] must be str. Received: {type(text).__name__}.")
        if "\n" in text:
            raise ValueError(f"a sentence of an index holds no line end; replace it by a space (texts[{number}]).")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError(f"a sentence of an index holds whole characters; half of one stands in texts[{number}].")


def _cosines(rows_KD: np.ndarray, vector_D: np.ndarray) -> np.ndarray:
    """Cosines (K,) of vectors of length 1, never above 1; equal vectors have equal ones, wherever they stand."""
    return (rows_KD * vector_D).sum(axis=1).clip(-1.0, 1.0)


def _ordered(positions: np.ndarray, scores: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `top`, the best first, equal ones by their positions."""
    order = np.lexsort([positions, -scores])[:top]
    return positions[order], scores[order]
