"""Many sentences to search: vectors in a nearest-neighbor graph, and their characters for a lexical score.

The vectors lie in a usearch index (HNSW, arXiv 1603.09320; Apache-2.0): searched one by one where they are few, through
the graph where they are many. Without usearch they are always compared one by one.

Legend: N sentences, Q queries, D size of a vector.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nlptasks.applications.similarity.vectors import GRAPH, ROWS, new_vectors, suffix_in, suffix_of
from nlptasks.files import atomic_path, read_json_object, write_text
from nlptasks.text.lexical import LexicalIndex

EXACT_BELOW = 20_000
"""sentences up to which every vector is compared"""
CANDIDATES = 200
"""the best so many by vector and the best so many by words are scored both ways in a hybrid search"""
HEADER = "index.json"


class Match(NamedTuple):
    """A sentence that was found.

    Attributes:
        text: the sentence.
        score: cosine; in a hybrid search, the blend.
        position: its number in the order it was added.
    """

    text: str
    score: float
    position: int


class SentenceIndex:
    """Sentences with their vectors, to be searched and added to.

    Args:
        vector_size: D.
        fingerprint: of the model whose vectors these are.
        threads: how many work when vectors are added or searched; 0: all cores.
    """

    def __init__(self, vector_size: int, fingerprint: str, threads: int = 0) -> None:
        self.vector_size, self.fingerprint, self.threads = vector_size, fingerprint, threads
        self.texts: Sequence[str] = []
        self._vectors = new_vectors(vector_size)
        self._read_only: Path | None = None
        self._lexical = LexicalIndex.build([])
        self._pending: list[str] = []

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Puts sentences behind those that are there; what is there stays as it is.

        Raises:
            ValueError: not a vector a sentence.
        """
        texts = list(texts)
        if vectors.shape != (len(texts), self.vector_size):
            raise ValueError(f"expected vectors of the shape {(len(texts), self.vector_size)}, got {vectors.shape}.")
        if any("\n" in text for text in texts):
            raise ValueError("a sentence of an index holds no line end; replace it by a space.")
        if not texts:
            return
        if self._read_only is not None:  # what is memory-mapped cannot grow: read it into memory
            self._vectors = new_vectors(self.vector_size, suffix_in(self._read_only))
            self._vectors.load(str(self._read_only))
            self._read_only = None
        if not isinstance(self.texts, list):
            self.texts = list(self.texts)
        keys = np.arange(len(self), len(self) + len(texts), dtype="uint64")
        self._vectors.add(keys, vectors.astype("float32"), threads=self.threads)
        self.texts += texts
        self._pending += texts

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
            exact: compare every vector; None: up to EXACT_BELOW sentences.

        Raises:
            ValueError: `top` is below 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1. Received: {top=}.")
        if not len(self) or not len(queries):
            return [[] for _ in queries]
        keys, cosines = self.nearest(vectors, max(top, CANDIDATES) if lexical_weight else top, exact)
        found = []
        for query, vector, near, cosine in zip(queries, vectors, keys, cosines, strict=True):
            if lexical_weight:
                near, cosine = self._blend(query, vector, near, top, lexical_weight)
            order = np.lexsort([near, -cosine])[:top]
            found.append([Match(self.texts[near[i]], float(cosine[i]), int(near[i])) for i in order])
        return found

    def nearest(self, vectors: np.ndarray, top: int, exact: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions (Q, k) of the nearest vectors and their cosines (Q, k), k the smaller of `top` and N."""
        exact = len(self) <= EXACT_BELOW if exact is None else exact
        top = min(top, len(self))
        matches = self._vectors.search(np.atleast_2d(vectors).astype("float32"), top, threads=self.threads, exact=exact)
        if not exact and np.min(getattr(matches, "counts", len(matches.keys))) < top:
            return self.nearest(vectors, top, exact=True)  # a part of the graph was not reached
        keys = np.asarray(matches.keys, "int64").reshape(len(vectors), -1)
        return keys, 1.0 - np.asarray(matches.distances, "float32").reshape(len(vectors), -1)

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """The vectors (P, D) of some sentences, float32."""
        return np.asarray(self._vectors.get(positions.astype("uint64")), "float32").reshape(-1, self.vector_size)

    def _blend(
        self, query: str, vector: np.ndarray, near: np.ndarray, top: int, weight: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of both kinds and their blended scores."""
        words = self.lexical.bm25(query)
        count = min(max(top, CANDIDATES), len(words))
        best = np.argpartition(-words, count - 1)[:count]
        both = np.union1d(near, best)
        cosine = self.vectors(both) @ vector
        return both, (1 - weight) * cosine + weight * words[both]

    def save(self, directory: str | Path) -> None:
        """Writes the index; one that stands there stays whole until the header, the last file, names the new files."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        former = _files_of(directory)
        generation = _next_generation(former)
        suffixes = {"vectors": suffix_of(self._vectors), "texts": "txt", "lexical": "npz"}
        names = {part: f"{part}.{generation}.{suffix}" for part, suffix in suffixes.items()}
        with atomic_path(directory / names["vectors"]) as temporary:
            self._vectors.save(str(temporary))
        write_text(directory / names["texts"], "".join(f"{text}\n" for text in self.texts))
        with atomic_path(directory / names["lexical"]) as temporary, open(temporary, "wb") as file:
            np.savez(file, **self.lexical.arrays())  # type: ignore[arg-type] # no array has the name of an argument
        header = {"vector_size": self.vector_size, "sentences": len(self), "fingerprint": self.fingerprint}
        write_text(directory / HEADER, json.dumps(header | {"files": names}, indent=1) + "\n")
        if self._read_only is not None:
            self._read_only = directory / names["vectors"]
        for name in former:
            if name not in names.values():
                (directory / name).unlink(missing_ok=True)

    @classmethod
    def open(cls, directory: str | Path, fingerprint: str | None = None, threads: int = 0) -> "SentenceIndex":
        """The index that `save` wrote; vectors are memory-mapped until something is added.

        Args:
            fingerprint: of the model that will search; None: any.

        Raises:
            ValueError, FileNotFoundError: one line; another model made it, or it is damaged.
        """
        directory = Path(directory)
        path = directory / HEADER
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; make an index with nlptasks similarity index.")
        header = read_json_object(path)
        try:
            names = {part: directory / header["files"][part] for part in ("vectors", "texts", "lexical")}
            index = cls(int(header["vector_size"]), str(header["fingerprint"]), threads)
            count = int(header["sentences"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not an index of sentences ({error}); make it again.") from None
        if fingerprint is not None and index.fingerprint != fingerprint:
            raise ValueError(
                f"{directory}: the index was made by another model (its fingerprint is {index.fingerprint}, the "
                f"model's {fingerprint}), whose vectors mean something else; search with that one or index again."
            )
        index._vectors = new_vectors(index.vector_size, suffix_in(names["vectors"]))
        try:
            index._vectors.view(str(names["vectors"]))
            index.texts = names["texts"].read_bytes().decode("utf-8").split("\n")[:-1]
            with open(names["lexical"], "rb") as file, np.load(file, allow_pickle=False) as arrays:
                index._lexical = LexicalIndex(**{name: arrays[name] for name in LexicalIndex.ARRAYS})
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{directory}: the index is damaged ({error}); make it again.") from None
        index._read_only = names["vectors"]
        if not len(index._vectors) == len(index.texts) == len(index._lexical) == count:
            raise ValueError(f"{directory}: the index is damaged (its files differ in length); make it again.")
        return index


_FILES = (f"vectors.*.{GRAPH}", f"vectors.*.{ROWS}", "texts.*.txt", "lexical.*.npz")


def _files_of(directory: Path) -> list[str]:
    """Files of an index that stands there, of unfinished saves, too."""
    return [path.name for pattern in _FILES for path in directory.glob(pattern)]


def _next_generation(names: Sequence[str]) -> int:
    used = [int(name.split(".")[1]) for name in names if name.split(".")[1].isdigit()]
    return max(used, default=-1) + 1
